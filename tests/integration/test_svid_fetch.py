"""Machines elsewhere that get their identity with `govctl svid fetch`, and renew it."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from identity.certificate_request import make_request, request_pem
from tests.support.calls import chat, eventually, plain, recorded
from tests.support.certificates import CertificateAuthority
from tests.support.https_server import Answer, serving
from tests.support.oidc_issuer import OidcIssuer, oidc_issuer
from tests.support.running_gateway import BIN, TRUST_DOMAIN, AgentFiles, RunningGateway, govctl

MODEL = "example-chat"
NODE = f"spiffe://{TRUST_DOMAIN}/node/"


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcIssuer]:
    with oidc_issuer(tmp_path_factory.mktemp("issuer")) as running:
        yield running


@pytest.fixture(scope="module")
def machines() -> CertificateAuthority:
    return CertificateAuthority.root("machines.test", now=int(time.time()))


@pytest.fixture(scope="module")
def home(
    example_backend: str,
    issuer: OidcIssuer,
    machines: CertificateAuthority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningGateway]:
    directory = tmp_path_factory.mktemp("fetch")
    (directory / "machines.pem").write_bytes(machines.certificate.public_bytes(Encoding.PEM))
    running = RunningGateway(directory / "home", example_backend, [MODEL])
    running.edit_config(
        {
            "identity": {
                "endpoint": {"enabled": True, "attempts_per_minute": 600},
                "attestation": {
                    "join_tokens": True,
                    "x509pop": {"ca_files": [str(directory / "machines.pem")]},
                    "oidc": [
                        {
                            "name": "ci",
                            "url": issuer.url,
                            "audience": "govgateway",
                            "ca_file": str(issuer.ca_file),
                            "algorithms": ["ES256"],
                        }
                    ],
                },
            }
        }
    )
    running.start()
    yield running
    assert running.stop() == 0


class Machine:
    """A machine elsewhere: a directory without any configuration, and the gateway's bundle."""

    def __init__(self, home: RunningGateway, directory: Path, name: str, *selectors: str, ttl: int = 0) -> None:
        self.home = home
        self.directory = directory
        self.node = NODE + name
        self.out = directory / "svid"
        directory.mkdir(exist_ok=True)
        self.bundle = directory / "trust.jwks"
        self.bundle.write_bytes((home.directory / "state/authority/bundle.jwks").read_bytes())
        self.agent = home.register(f"agent/{name}", issue=False).id
        parent = () if selectors else ("--parent", self.node)
        wanted = selectors or (f"join_token:id:{self.node}",)
        made = govctl(
            home.directory, "entry", "create", "--spiffe-id", self.agent, *parent,
            *(part for selector in wanted for part in ("--selector", selector)),
            *(("--x509-ttl", str(ttl)) if ttl else ()), "--json",
        )  # fmt: skip
        self.entry = json.loads(made.stdout)["entry_id"]
        self.files = AgentFiles(self.agent, self.out)

    def token(self) -> Path:
        """Make a join token and put it where this machine finds it."""
        made = govctl(self.home.directory, "token", "create", "--node", self.node, "--json").stdout
        path = self.directory / "token"
        path.write_text(json.loads(made)["token"] + "\n")
        return path

    def arguments(self, *more: str, method: str = "join_token") -> list[str]:
        server = f"https://localhost:{self.home.endpoint_port}"
        given = [] if "--web-pki" in more else ["--bundle", str(self.bundle)]
        return ["svid", "fetch", "--server", server, *given, "--method", method, "--out", str(self.out), *more]

    def fetch(self, *more: str, **how: Any) -> subprocess.CompletedProcess[str]:
        env = how.pop("env", None)
        return govctl(self.directory, *self.arguments(*more, **how), check=False, env=env)

    def control(self) -> tuple[str, str]:
        return "--control", f"https://localhost:{self.home.admin_port}"

    def join(self) -> None:
        done = self.fetch("--token-file", str(self.token()))
        assert done.returncode == 0, done.stderr

    def renew(self, spiffe_id: str = "") -> httpx.Response:
        """Renew as any HTTP client would."""
        with httpx.Client(verify=self.files.tls(), trust_env=False, timeout=15) as client:
            csr = request_pem(make_request(ec.generate_private_key(ec.SECP256R1()), spiffe_id))
            return client.post(f"{self.control()[1]}/v1/svid", json={"csr": csr})

    def call(self) -> int:
        with plain(self.home, self.files) as client:
            return client.post("/v1/chat/completions", json=chat(MODEL)).status_code

    @contextlib.contextmanager
    def keeping(self, *more: str, **how: Any) -> Iterator[subprocess.Popen[str]]:
        with (
            (self.directory / "log").open("a") as log,
            subprocess.Popen(
                [BIN / "govctl", *self.arguments(*more, "--keep", **how)],
                cwd=self.directory, stdout=log, stderr=log, text=True, env={**os.environ, "COLUMNS": "200"},
            ) as process,
        ):  # fmt: skip
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.terminate()
                    assert process.wait(10) == 0

    def log(self) -> str:
        return (self.directory / "log").read_text()


@pytest.fixture
def machine(home: RunningGateway, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Machine]:
    name = re.sub("[^a-z]+", "-", request.node.name)[:60]
    return lambda *selectors, **options: Machine(home, tmp_path / "machine", name, *selectors, **options)


def serial(machine: Machine) -> str:
    """Return the serial number of the certificate that the machine has now."""
    return f"{x509.load_pem_x509_certificate((machine.out / 'svid.pem').read_bytes()).serial_number:x}"


# Fetching


def test_a_machine_joins_with_a_token_and_calls_a_model(machine):
    one = machine()
    one.join()
    assert one.call() == 200
    modes = {path.name: path.stat().st_mode & 0o777 for path in one.out.iterdir()}
    assert modes == {"svid.pem": 0o644, "svid.key": 0o600, "bundle.pem": 0o644, "bundle.jwks": 0o644}
    assert recorded(one.home, "identity.issued", agent=one.agent)["parent"] == one.node


def test_a_token_is_read_from_standard_input_and_never_taken_as_an_argument(machine):
    one = machine()
    token = one.token().read_text()
    done = subprocess.run(
        [BIN / "govctl", *one.arguments()], check=False, cwd=one.directory, input=token, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert token.strip() not in done.stdout + done.stderr
    assert one.fetch("--token", token).returncode == 2


def test_a_token_that_was_used_gives_nobody_an_identity_and_the_first_holder_keeps_theirs(machine, tmp_path):
    one = machine()
    one.join()
    before = serial(one)
    stolen = one.fetch("--token-file", str(one.directory / "token"))
    assert stolen.returncode == 1
    assert "used" in stolen.stderr
    assert serial(one) == before
    assert one.call() == 200


def test_a_machine_attests_with_the_certificate_of_another_authority(machine, machines):
    one = machine("x509pop:subject:cn:build-9")
    now = int(time.time())
    leaf = machines.issue("spiffe://machines.test/b", not_before=now - 60, not_after=now + 600, subject="build-9")
    cert, key = leaf.files(one.directory)
    done = one.fetch("--cert", str(cert), "--key", str(key), "--id", one.agent, method="x509pop")
    assert done.returncode == 0, done.stderr
    assert one.call() == 200


def test_a_job_attests_with_an_id_token_from_a_file_once(machine, issuer):
    one = machine("oidc:ci:sub:job-1")
    (one.directory / "jwt").write_text(issuer.token(sub="job-1", aud="govgateway", jti="1"))
    done = one.fetch("--token-file", "jwt", method="oidc")
    assert done.returncode == 0, done.stderr
    assert one.call() == 200
    again = one.fetch("--token-file", "jwt", method="oidc")
    assert again.returncode == 1
    assert "shown before" in again.stderr


def test_the_server_may_be_verified_by_its_host_name(machine):
    one = machine()
    (one.directory / "web.pem").write_bytes((one.home.register("agent/web").directory / "bundle.pem").read_bytes())
    trusting = {"SSL_CERT_FILE": str(one.directory / "web.pem")}
    options = ("--web-pki", "--trust-domain", TRUST_DOMAIN, "--token-file", str(one.token()))
    refused = one.fetch(*options)
    assert refused.returncode == 1
    assert "certificate verify failed" in refused.stderr.lower()
    done = one.fetch(*options, env=trusting)
    assert done.returncode == 0, done.stderr
    assert one.call() == 200


async def test_nothing_is_sent_to_a_server_that_is_not_the_gateway(machine, tmp_path):
    one = machine()
    token = str(one.token())
    now = int(time.time())
    home, away = (CertificateAuthority.root(name, now=now) for name in (TRUST_DOMAIN, "away.test"))
    one.bundle.write_bytes(home.bundle(TRUST_DOMAIN).to_jwks())
    dates = {"not_before": now - 60, "not_after": now + 600}
    servers = {
        "another domain's gateway": away.issue("spiffe://away.test/gateway", **dates),
        "another domain's certificate for this gateway": away.issue(f"spiffe://{TRUST_DOMAIN}/gateway", **dates),
        "an agent of this domain": home.issue(f"spiffe://{TRUST_DOMAIN}/agent/liar", **dates),
    }
    for name, leaf in servers.items():
        async with serving(leaf, tmp_path, lambda request: Answer(b"{}")) as server:
            arguments = one.arguments("--token-file", token)
            arguments[arguments.index("--server") + 1] = server.url
            done = await asyncio.to_thread(partial(govctl, one.directory, *arguments, check=False))
            assert done.returncode == 1, name
            assert server.requests == [], name
    assert not (one.out / "svid.pem").exists()
    one.bundle.write_bytes((one.home.directory / "state/authority/bundle.jwks").read_bytes())
    assert one.fetch("--token-file", token).returncode == 0, "the token was not used up"


# Renewal


def test_a_short_certificate_is_renewed_at_half_its_life_while_calls_go_on(machine):
    one = machine(ttl=60)
    token = one.token()
    with one.keeping("--token-file", str(token), *one.control()):
        eventually("it has its first", (one.out / "bundle.jwks").exists)
        first, began = serial(one), time.monotonic()
        while serial(one) == first:
            assert time.monotonic() - began < 40, one.log()
            assert one.call() == 200
            time.sleep(0.5)
        assert time.monotonic() - began > 20
        eventually("it says so", lambda: f"renewed {one.agent}" in one.log())
        assert one.call() == 200
    issued = recorded(one.home, "identity.issued", agent=one.agent)
    assert issued["entry"] == one.entry
    assert issued["renewed"]
    with one.keeping("--token-file", str(token), *one.control()) as process:
        eventually("it goes on with what it has", lambda: "is in" in one.log())
        before = serial(one)
        time.sleep(0.5)
        process.send_signal(signal.SIGHUP)
        eventually("it renews at once", lambda: serial(one) != before)


def test_who_can_attest_again_renews_without_the_control_plane(machine, machines):
    one = machine("x509pop:subject:cn:build-10")
    now = int(time.time())
    leaf = machines.issue("spiffe://machines.test/b", not_before=now - 60, not_after=now + 600, subject="build-10")
    cert, key = leaf.files(one.directory)
    with one.keeping("--cert", str(cert), "--key", str(key), method="x509pop") as process:
        eventually("it has its first", lambda: "X.509-SVID for" in one.log())
        first = serial(one)
        time.sleep(1)
        process.send_signal(signal.SIGHUP)
        eventually("it attested again", lambda: serial(one) != first)
    assert one.call() == 200


def test_a_join_token_cannot_be_kept_without_an_address_to_renew_at(machine):
    one = machine()
    done = one.fetch("--token-file", str(one.token()), "--keep")
    assert done.returncode == 1
    assert "--control" in done.stderr
    assert not (one.out / "svid.pem").exists()


def test_an_expired_certificate_ends_the_keeper_with_the_remedy(machine):
    one = machine(ttl=60)
    with one.keeping("--token-file", str(one.token()), *one.control()) as process:
        eventually("it has its first", (one.out / "bundle.jwks").exists)
        govctl(one.home.directory, "entry", "delete", one.entry)
        time.sleep(1)
        process.send_signal(signal.SIGHUP)
        eventually("it is refused and tries again", lambda: "not renewed, next try" in one.log())
        assert process.wait(75) == 1
    assert "has expired" in one.log()
    assert "govctl token create" in one.log()


def test_renewal_ends_with_the_entry(machine):
    one = machine()
    one.join()
    assert one.renew().status_code == 200
    govctl(one.home.directory, "entry", "delete", one.entry)
    refused = one.renew()
    assert (refused.status_code, refused.json()["code"]) == (401, "renewal-entry")


def test_renewal_ends_when_the_entry_asks_for_more_than_the_node_proved(machine):
    one = machine()
    one.join()
    govctl(one.home.directory, "entry", "update", one.entry, "--selector", "x509pop:subject:cn:other")
    refused = one.renew()
    assert (refused.status_code, refused.json()["code"]) == (401, "renewal-entry")


@pytest.mark.parametrize("kind", ["node", "entry", "id"])
def test_renewal_ends_with_a_revocation(machine, kind):
    one = machine()
    one.join()
    subject = {"node": one.node, "entry": one.entry, "id": one.agent}[kind]
    govctl(one.home.directory, "agent", "revoke", f"--{kind}", subject, "--reason", "a test")
    refused = one.renew()
    assert refused.status_code == 401
    assert "chain" not in refused.json()


def test_renewal_ends_with_a_suspension_and_comes_back_with_it(machine):
    one = machine()
    one.join()
    govctl(one.home.directory, "agent", "suspend", one.agent, "--reason", "a test")
    assert one.renew().status_code == 401
    govctl(one.home.directory, "agent", "activate", one.agent, "--reason", "a test")
    eventually("it renews again", lambda: one.renew().status_code == 200)


def test_nobody_renews_another_identity(machine):
    one = machine()
    one.join()
    refused = one.renew(f"spiffe://{TRUST_DOMAIN}/agent/somebody-else")
    assert (refused.status_code, refused.json()["code"]) == (401, "renewal-id")
    answer = one.renew(one.agent)
    assert (answer.status_code, answer.json()["spiffe_id"]) == (200, one.agent)


def test_a_certificate_issued_by_hand_is_not_renewed(machine):
    one = machine()
    govctl(one.home.directory, "agent", "issue", one.agent, "--out", str(one.out))
    refused = one.renew()
    assert (refused.status_code, refused.json()["code"]) == (401, "renewal-by-hand")


def test_without_the_action_in_the_policy_nobody_renews(machine):
    one = machine()
    one.join()
    roles = one.home.directory / "policies/govgateway/roles/data.yaml"
    before = roles.read_text()
    try:
        roles.write_text(before.replace("identity.renew", "identity.exchange"))
        govctl(one.home.directory, "reload")
        eventually("it is denied", lambda: one.renew().status_code == 403)
    finally:
        roles.write_text(before)
        govctl(one.home.directory, "reload")
    eventually("it is allowed", lambda: one.renew().status_code == 200)


def test_what_is_no_certificate_request_is_refused_with_the_reason(machine):
    one = machine()
    one.join()
    with httpx.Client(verify=one.files.tls(), trust_env=False, timeout=15) as client:
        url = f"{one.control()[1]}/v1/svid"
        refused = client.post(url, json={"csr": "nonsense"})
        assert (refused.status_code, refused.json()["code"]) == (400, "payload-malformed")
        assert client.post(url, json={"csr": "x", "spiffe_id": "spiffe://x/y"}).status_code == 400
