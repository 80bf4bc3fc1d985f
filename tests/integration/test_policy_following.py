"""Revisions that are pulled: from another gateway, from any bundle server, from an object store, from a file."""

import json
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from gateway.app import policy_store
from gateway.config import load_config
from tests.support.calls import chat, eventually, plain, recorded, records
from tests.support.certificates import CertificateAuthority
from tests.support.https_server import loopback_leaf
from tests.support.policy_bundles import PolicyAuthor, activate
from tests.support.running_gateway import ROOT, RunningGateway, govctl

MODEL = "example-chat"


@pytest.fixture
def author(tmp_path: Path) -> PolicyAuthor:
    author = PolicyAuthor(tmp_path / "author", ROOT / "policies")
    author.bind("team:gateways", ["policy-follower"])
    return author


class Follower(RunningGateway):
    """A gateway that pulls its policies."""

    def revision(self) -> str:
        return self.activation()["revision"]

    def activation(self) -> dict[str, Any]:
        active = policy_store(load_config(self.config_path)).history().active
        assert active is not None
        return active.model_dump()


def follower(directory: Path, backend: str, author: PolicyAuthor, bundle: dict[str, Any], **more: Any) -> Follower:
    configuration = author.configuration(bundle={"poll_seconds": 1, **bundle}, **more)
    return Follower(directory / "follower", backend, [MODEL], configuration)


def test_a_file_is_followed_and_a_bad_one_leaves_the_last_good_one_in_force(example_backend, author, tmp_path):
    dropped = tmp_path / "dropped.tar.gz"
    gateway = follower(tmp_path, example_backend, author, {"url": str(dropped)})
    activate(gateway, author.build("one"))
    gateway.start()
    try:
        caller = gateway.register("agent/caller")
        dropped.write_bytes(author.build("two").read_bytes())
        eventually("the file is taken", lambda: gateway.revision() == "two")
        taken = gateway.activation()
        assert (taken["by"], taken["source"]) == ("pulled", str(dropped))
        dropped.write_bytes(author.build("unsigned", signed=False).read_bytes())
        recorded(gateway, "policy.refused", source=str(dropped))
        dropped.write_bytes(author.build("older", serial=1).read_bytes())
        eventually(
            "the older one is refused",
            lambda: any("older" in r["cause"] for r in records(gateway) if r["type"] == "policy.refused"),
        )
        assert gateway.revision() == "two"
        with plain(gateway, caller) as client:
            assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
        dropped.write_bytes(author.build("three").read_bytes())
        eventually("a good one is taken again", lambda: gateway.revision() == "three")
        govctl(gateway.directory, "policy", "rollback", "--reason", "three was a mistake")
        dropped.touch()
        dropped.write_bytes(author.build("three-again").read_bytes())
        eventually("what is new is taken after a rollback", lambda: gateway.revision() == "three-again")
    finally:
        assert gateway.stop() == 0


def test_what_was_rolled_back_from_is_not_pulled_again(example_backend, author, tmp_path):
    dropped = tmp_path / "dropped.tar.gz"
    gateway = follower(tmp_path, example_backend, author, {"url": str(dropped)})
    activate(gateway, author.build("one"))
    dropped.write_bytes(author.build("two").read_bytes())
    gateway.start()
    try:
        eventually("the file is taken", lambda: gateway.revision() == "two")
        govctl(gateway.directory, "policy", "rollback", "--reason", "two was a mistake")
        dropped.touch()
        eventually("it is seen again", lambda: "policy-source-behind" in gateway.log())
        assert gateway.revision() == "one"
    finally:
        assert gateway.stop() == 0


def test_a_gateway_follows_another_by_its_spiffe_id(example_backend, author, tmp_path):
    leader = RunningGateway(tmp_path / "leader", example_backend, [MODEL], author.configuration(), "leader.test")
    away = "follower.test"
    gateway = Follower(tmp_path / "follower", example_backend, [MODEL], None, away)
    leader.edit_config(
        {
            "identity": {
                "federated": [{"trust_domain": away, "file": str(gateway.directory / "state/authority/bundle.jwks")}]
            }
        }
    )
    followed = {
        "url": f"https://localhost:{leader.admin_port}/v1/policy/bundles/govgateway.tar.gz",
        "server_id": "spiffe://leader.test/gateway",
        "poll_seconds": 1,
        "long_poll_seconds": 30,
    }
    federated = [{"trust_domain": "leader.test", "file": str(leader.directory / "state/authority/bundle.jwks")}]
    gateway.edit_config({**author.configuration(bundle=followed), "identity": {"federated": federated}})
    first = author.build("one")
    activate(leader, first)
    activate(gateway, first)
    leader.start()
    gateway.start()
    try:
        leader.register(f"spiffe://{away}/gateway", team="gateways", kind="service", issue=False)
        activate(leader, author.build("two"))
        eventually("the follower has it", lambda: gateway.revision() == "two")
        activate(leader, author.build("three"))
        eventually("and the next one, by long polling", lambda: gateway.revision() == "three")
        assert recorded(leader, "admin.request", action="admin.policy.bundle", decision="allow")["principal"] == (
            f"spiffe://{away}/gateway"
        )
        govctl(leader.directory, "agent", "revoke", "--id", f"spiffe://{away}/gateway", "--reason", "a test")
        activate(leader, author.build("four"))
        eventually("it is told why", lambda: "policy-source" in gateway.log() and "401" in gateway.log())
        assert gateway.revision() == "three"
    finally:
        assert gateway.stop() == 0
        assert leader.stop() == 0


# An object store


@dataclass(frozen=True)
class ObjectStore:
    """An S3 store on this machine (moto, a stand-in for Amazon's that checks no signature)."""

    url: str
    ca_file: Path
    requests: list[dict[str, str]]

    def put(self, bucket: str, key: str, content: bytes) -> None:
        client = boto3.client(
            "s3", endpoint_url=self.url, region_name="eu-west-1", verify=str(self.ca_file),
            aws_access_key_id="writer", aws_secret_access_key="writer-secret",
        )  # fmt: skip
        client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        client.put_object(Bucket=bucket, Key=key, Body=content)
        client.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    now = int(time.time())
    root = CertificateAuthority.root("store.test", now=now)
    chain, key = loopback_leaf(root, now).files(tmp_path)
    ca_file = tmp_path / "store-ca.pem"
    ca_file.write_bytes(root.certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    requests: list[dict[str, str]] = []
    inner = DomainDispatcherApplication(create_backend_app)

    def application(environ: dict[str, Any], start: Any) -> Any:
        requests.append(
            {name: str(value) for name, value in environ.items() if name.startswith(("HTTP_", "PATH", "REQ"))}
        )
        return inner(environ, start)

    server = make_server("127.0.0.1", 0, application, threaded=True, ssl_context=context)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield ObjectStore(f"https://127.0.0.1:{server.server_port}", ca_file, requests)
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_object_of_a_store_is_followed(example_backend, author, store, tmp_path):
    store.put("policies", "live/policies.tar.gz", author.build("in-the-store").read_bytes())
    (tmp_path / "access").write_text("reader")
    (tmp_path / "secret").write_text("reader-secret")
    s3 = {"endpoint": store.url, "region": "eu-west-1", "access_key": f"file:{tmp_path}/access",
          "secret_key": f"file:{tmp_path}/secret"}  # fmt: skip
    bundle = {"url": "s3://policies/live/policies.tar.gz", "ca_file": str(store.ca_file), "s3": s3}
    gateway = follower(tmp_path, example_backend, author, bundle)
    for name in ("access", "secret"):
        (tmp_path / name).chmod(0o600)
    activate(gateway, author.build("one", serial=1))
    gateway.start()
    try:
        eventually("the object is taken", lambda: gateway.revision() == "in-the-store")
        asked = [each for each in store.requests if each["REQUEST_METHOD"] == "GET"]
        assert "Credential=reader/" in asked[-1]["HTTP_AUTHORIZATION"]
        eventually("it is asked whether there is news", lambda: "HTTP_IF_NONE_MATCH" in store.requests[-1])
        assert "reader-secret" not in gateway.log() + json.dumps(store.requests)
    finally:
        assert gateway.stop() == 0
