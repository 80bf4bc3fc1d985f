"""A running gateway gives workloads their identities: entries, rotation, taint, withdrawal, revocation, restarts."""

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from spiffe import JwtSource, SpiffeId, TrustDomain, WorkloadApiClient, X509Source
from spiffe.errors import PySpiffeError

from tests.support.calls import chat, eventually, plain, recorded, records
from tests.support.running_gateway import TRUST_DOMAIN, AgentFiles, RunningGateway, govctl

MODEL = "example-chat"
GATEWAY = f"spiffe://{TRUST_DOMAIN}/gateway"
WORKLOAD = f"spiffe://{TRUST_DOMAIN}/agent/workload"


class Home:
    """A gateway that serves the Workload API."""

    def __init__(self, gateway: RunningGateway, sockets: Path) -> None:
        self.gateway = gateway
        self.address = f"unix://{sockets / 'api.sock'}"
        gateway.edit_config({"identity": {"workload_api": {"socket": str(sockets / "api.sock")}}})

    def ctl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return govctl(self.gateway.directory, *arguments, check=check)

    def entry(self, spiffe_id: str, *selectors: str, options: tuple[str, ...] = ()) -> str:
        """Register an identity with an entry; return the entry's id."""
        self.gateway.register(spiffe_id.removeprefix(f"spiffe://{TRUST_DOMAIN}/"), issue=False)
        chosen = [part for selector in selectors for part in ("--selector", selector)]
        made = self.ctl("entry", "create", "--spiffe-id", spiffe_id, *chosen, *options, "--json")
        return str(json.loads(made.stdout)["entry_id"])


@pytest.fixture(scope="module")
def sockets() -> Iterator[Path]:
    """A directory that every user may enter, with a short path, as a Unix socket needs it."""
    directory = Path(tempfile.mkdtemp(prefix="gg-"))
    directory.chmod(stat.S_IRWXU | stat.S_IXGRP | stat.S_IXOTH)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def home(example_backend: str, sockets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    running = RunningGateway(tmp_path_factory.mktemp("workloads") / "home", example_backend, [MODEL])
    home = Home(running, sockets)
    home.entry(WORKLOAD, f"unix:uid:{os.getuid()}", options=("--dns-name", "workload.test", "--hint", "main"))
    running.start(workers=2)
    yield home
    assert running.stop() == 0


def files_of(source: X509Source, directory: Path) -> AgentFiles:
    """Write what a workload fetched, for clients that read files."""
    context = source.get_x509_context()
    svid = context.default_svid
    directory.mkdir(exist_ok=True)
    (directory / "svid.pem").write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in svid.cert_chain))
    key = svid.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (directory / "svid.key").write_bytes(key)
    bundle = source.get_bundle_for_trust_domain(TrustDomain(TRUST_DOMAIN))
    (directory / "bundle.pem").write_bytes(
        b"".join(each.public_bytes(Encoding.PEM) for each in bundle.x509_authorities)
    )
    return AgentFiles(str(svid.spiffe_id), directory)


def serial_of(source: X509Source) -> int:
    return int(source.get_x509_context().default_svid.leaf.serial_number)


def test_a_workload_fetches_its_identity_and_calls_a_model_with_it(home, tmp_path):
    with X509Source(socket_path=home.address) as source:
        agent = files_of(source, tmp_path / "svid")
        assert agent.id == WORKLOAD
        with plain(home.gateway, agent) as client:
            assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
        issued = recorded(home.gateway, "identity.issued", agent=WORKLOAD)
        assert issued["svid"] == "x509-svid"
        assert int(issued["serial"], 16) == serial_of(source)
        assert recorded(home.gateway, "access.intent", principal=WORKLOAD)["peer"]["serial"] == issued["serial"]


def test_tokens_are_fetched_verified_by_the_gateway_and_by_others(home):
    with JwtSource(socket_path=home.address) as source:
        svid = source.fetch_svid({GATEWAY, "other"})
        assert str(svid.spiffe_id) == WORKLOAD
        keys = source.get_bundle_for_trust_domain(TrustDomain(TRUST_DOMAIN)).jwt_authorities
        key_id = jwt.get_unverified_header(svid.token)["kid"]
        claims = jwt.decode(svid.token, keys[key_id], algorithms=["ES256"], audience="other")
        assert claims["sub"] == WORKLOAD
        assert claims["exp"] - claims["iat"] == 300
    with WorkloadApiClient(home.address) as client:
        assert client.validate_jwt_svid(svid.token, "other").spiffe_id == SpiffeId(WORKLOAD)
        with pytest.raises(PySpiffeError):
            client.validate_jwt_svid(svid.token, "elsewhere")


def test_a_taint_makes_every_holder_rotate_and_the_connection_goes_on(home, tmp_path):
    with X509Source(socket_path=home.address) as source:
        before, agent = serial_of(source), files_of(source, tmp_path / "svid")
        with plain(home.gateway, agent) as client:
            assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
            old = active(home)
            for step in (("prepare",), ("activate",), ("taint", old)):
                home.ctl("authority", "x509", *step, "--reason", "a test")
            eventually("the SVID is another", lambda: serial_of(source) != before)
            assert active(home) != old
            assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200, "still trusted"
            home.ctl("authority", "x509", "revoke", old, "--reason", "a test")
            eventually("what the old one signed is refused", lambda: client.get("/v1/models").status_code == 401)
        renewed = files_of(source, tmp_path / "renewed")
        with plain(home.gateway, renewed) as client:
            assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
    assert recorded(home.gateway, "identity.revoked", kind="authority")["subject"] == old
    assert recorded(home.gateway, "access.denied", principal=WORKLOAD)["revocation"]["code"] == "identity-revoked"
    assert {entry["type"] for entry in records(home.gateway)} >= {
        "authority.prepared", "authority.activated", "authority.tainted", "authority.revoked",
    }  # fmt: skip


def active(home: Home) -> str:
    shown = json.loads(home.ctl("authority", "x509", "show", "--json").stdout)
    return next(row["id"] for row in shown["authorities"] if row["state"] == "active")


def test_a_new_root_reaches_the_workloads_before_it_signs(home):
    with X509Source(socket_path=home.address) as source:
        domain = TrustDomain(TRUST_DOMAIN)
        before = len(source.get_bundle_for_trust_domain(domain).x509_authorities)
        serial = serial_of(source)
        home.ctl("authority", "x509", "prepare", "--new-root", "--reason", "a test")
        eventually(
            "the bundle has the new root",
            lambda: len(source.get_bundle_for_trust_domain(domain).x509_authorities) == before + 1,
        )
        assert serial_of(source) == serial


def test_an_identity_that_is_suspended_gets_nothing_and_gets_it_again(home):
    spiffe_id = f"spiffe://{TRUST_DOMAIN}/agent/sometimes"
    home.entry(spiffe_id, f"unix:uid:{os.getuid()}")
    with WorkloadApiClient(home.address) as client:

        def ids() -> set[str]:
            return {str(svid.spiffe_id) for svid in client.fetch_x509_svids()}

        eventually("it is granted", lambda: spiffe_id in ids())
        home.ctl("agent", "suspend", spiffe_id, "--reason", "a test")
        eventually("it is withdrawn", lambda: spiffe_id not in ids())
        home.ctl("agent", "activate", spiffe_id, "--reason", "a test")
        eventually("it is granted again", lambda: spiffe_id in ids())
        home.ctl("agent", "revoke", "--id", spiffe_id, "--reason", "a test")
        eventually("it is revoked", lambda: spiffe_id not in ids())
        home.ctl("agent", "retire", spiffe_id, "--reason", "a test")


FETCH = """
import sys
from spiffe import WorkloadApiClient
with WorkloadApiClient(sys.argv[1]) as client:
    print(*(svid.spiffe_id for svid in client.fetch_x509_svids()))
"""


def fetch(home: Home, *command: str) -> list[str]:
    """Fetch in a process of its own; return the SPIFFE IDs, or nothing where it is refused."""
    done = subprocess.run(
        [*command, sys.executable, "-c", FETCH, home.address], check=False, capture_output=True, text=True, timeout=30
    )
    return done.stdout.split()


def test_only_who_has_every_selector_is_given_the_identity(home):
    digest = subprocess.run(["sha256sum", os.path.realpath(sys.executable)], check=True, capture_output=True, text=True)
    program = f"unix:sha256:{digest.stdout.split()[0]}"
    mine = f"unix:uid:{os.getuid()}"
    whole, part = f"spiffe://{TRUST_DOMAIN}/agent/whole", f"spiffe://{TRUST_DOMAIN}/agent/part"
    home.entry(whole, mine, program)
    home.entry(part, mine, program, "unix:supplementary_gid:54321")
    eventually("the entry is known", lambda: whole in fetch(home))
    assert part not in fetch(home)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may run a program as another user")
def test_another_user_is_another_workload(home):
    nobody = f"spiffe://{TRUST_DOMAIN}/agent/nobody"
    home.entry(nobody, "unix:user:nobody")
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv of util-linux is missing")
    as_nobody = (setpriv, "--reuid", "nobody", "--regid", "nogroup", "--clear-groups")
    eventually("the entry is known", lambda: fetch(home, *as_nobody) == [nobody])
    assert nobody not in fetch(home)


def test_a_deleted_entry_takes_its_identity_with_it(home):
    spiffe_id = f"spiffe://{TRUST_DOMAIN}/agent/deleted"
    entry_id = home.entry(spiffe_id, f"unix:uid:{os.getuid()}")
    with WorkloadApiClient(home.address) as client:
        eventually("it is granted", lambda: spiffe_id in {str(s.spiffe_id) for s in client.fetch_x509_svids()})
        home.ctl("entry", "delete", entry_id)
        eventually("it is gone", lambda: spiffe_id not in {str(s.spiffe_id) for s in client.fetch_x509_svids()})


def test_an_entry_sets_the_life_of_its_svids(home):
    spiffe_id = f"spiffe://{TRUST_DOMAIN}/agent/brief"
    home.entry(spiffe_id, f"unix:uid:{os.getuid()}", options=("--x509-ttl", "60", "--hint", "brief"))
    eventually("it is granted", lambda: spiffe_id in fetch(home))
    with WorkloadApiClient(home.address) as client:
        svid = next(each for each in client.fetch_x509_svids() if str(each.spiffe_id) == spiffe_id)
    life = svid.leaf.not_valid_after_utc - svid.leaf.not_valid_before_utc
    assert life.total_seconds() == 70, "60 seconds, and 10 in the past for clocks that are behind"


def test_the_inventory_knows_who_called_what_and_when(home, tmp_path):
    with (
        X509Source(socket_path=home.address) as source,
        plain(home.gateway, files_of(source, tmp_path / "s")) as client,
    ):
        assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200

    def shown() -> dict[str, Any]:
        return json.loads(home.ctl("agent", "show", WORKLOAD, "--json").stdout)

    agent = eventually("it is counted", lambda: shown() if shown()["calls"] else None)
    assert 0 < agent["first_seen"] <= agent["last_seen"]


def test_what_was_issued_outlives_a_restart_and_the_socket_comes_back(home, tmp_path):
    with X509Source(socket_path=home.address) as source:
        agent = files_of(source, tmp_path / "svid")
        home.gateway.kill_everything()
        home.gateway.start(workers=2)
        with plain(home.gateway, agent) as client:
            assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
        eventually("the socket answers again", lambda: WORKLOAD in fetch(home))
        assert serial_of(source), "a source that is open bridges the restart with what it has"


def test_metrics_count_answers_and_refusals(home):
    assert fetch(home)
    text = home.gateway.metrics()
    assert 'govgateway_workload_api_answers_total{method="FetchX509SVID"}' in text
    assert httpx.get(home.gateway.operations_url + "/readyz").json()["parts"]["identity"]["ready"] is True


def test_the_inventory_away_issues_nothing_and_says_so(example_backend, tmp_path):
    running = RunningGateway(tmp_path / "home", example_backend, [MODEL])
    home = Home(running, tmp_path)
    home.entry(WORKLOAD, f"unix:uid:{os.getuid()}")
    running.start()
    try:
        with X509Source(socket_path=home.address) as source:
            agent = files_of(source, tmp_path / "svid")
            break_inventory(running)
            eventually("readiness says so", lambda: running.ready()["parts"]["identity"]["ready"] is False)
            with plain(running, agent) as client:
                answer: Any = client.post("/v1/chat/completions", json=chat(MODEL))
                assert answer.status_code == 200, "what was issued goes on working"
            with WorkloadApiClient(home.address) as client, pytest.raises(PySpiffeError):
                client.fetch_jwt_svid({"new"})
    finally:
        running.stop()


def break_inventory(gateway: RunningGateway) -> None:
    """Overwrite the inventory's file, and what SQLite keeps beside it, with bytes that are no database."""
    for path in (gateway.directory / "state").glob("registry.sqlite*"):
        path.write_bytes(b"not a database " * 4096)
    time.sleep(0.1)
