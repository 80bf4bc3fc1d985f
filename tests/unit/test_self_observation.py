"""What the gateway puts on record about itself: counts, hops, ages of credentials."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.errors import AuditUnavailableError
from audit.events import EVENTS
from audit.tlog.note import CosignatureSigner, Ed25519Signer
from gateway.config.model import GatewayConfig
from gateway.hops import hops_of
from gateway.secret_ages import FILE_NAME, SecretAges, references_of
from gateway.secrets.reference_store import ReferenceStore
from gateway.self_observation import Counted, SelfObservation
from identity.registry import Agent

HOUR_NS = 3600 * 10**9


class Log:
    """A log that keeps what it is given; named a stand-in."""

    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, Any]]] = []
        self.healthy = True

    def append(self, kind: str, fields: dict[str, Any]) -> None:
        if not self.healthy:
            raise AuditUnavailableError("the disk is full")
        model = EVENTS[kind].model
        chain = {
            "v": 1, "log": "example.org/audit", "chain": "control", "seq": 0, "prev": "0" * 64, "time": "1",
            "event_id": "0192a000-0000-7000-8000-000000000000", "type": kind,
        }  # fmt: skip
        model.model_validate({**chain, **fields})
        self.records.append((kind, fields))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [fields for each, fields in self.records if each == kind]


class Clock:
    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def configured(**changes: Any) -> GatewayConfig:
    document: dict[str, Any] = {
        "trust_domain": "example.org",
        "backends": [{"name": "vllm", "url": "http://127.0.0.1:8000/v1"}],
        "models": [{"name": "m", "backends": ["vllm"]}],
        **changes,
    }
    return GatewayConfig.model_validate(document)


def hop(config: GatewayConfig, name: str) -> dict[str, Any]:
    return next(each for each in hops_of(config) if each["hop"] == name)


def observed(log: Log, clock: Clock, tmp_path: Path, config: GatewayConfig, counted: list[Counted]) -> SelfObservation:
    ages = SecretAges(tmp_path, b"k" * 32, ReferenceStore().read, clock)
    return SelfObservation(log, lambda: config, lambda: counted[0], ages, tuple, clock)  # type: ignore[arg-type]


def test_each_hop_says_how_it_is_protected() -> None:
    config = configured(
        backends=[
            {"name": "near", "url": "http://127.0.0.1:8000/v1"},
            {"name": "far", "url": "https://gpu.example.org/v1"},
            {"name": "bare", "url": "http://10.0.0.1/v1", "unsafe_plaintext": True},
        ],
        models=[{"name": "m", "backends": ["near", "far", "bare"]}],
    )
    assert hop(config, "listener")["tls_minimum"] == "1.3"
    assert hop(config, "listener")["mutual"] is True
    assert (hop(config, "backend:near")["encrypted"], hop(config, "backend:near")["reach"]) == (False, "loopback")
    assert (hop(config, "backend:far")["encrypted"], hop(config, "backend:far")["reach"]) == (True, "network")
    assert (hop(config, "backend:bare")["encrypted"], hop(config, "backend:bare")["reach"]) == (False, "network")


def test_the_url_of_a_database_is_a_secret_and_only_its_host_is_told(
    monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    config = configured(audit={"database": "env:DATABASE"})
    for url, expected in {
        "postgresql://gw:hunter2@db.example.org/audit?sslmode=verify-full": ("https://db.example.org", True, "network"),
        "postgresql://gw:hunter2@db.example.org/audit?sslmode=require": ("http://db.example.org", False, "network"),
        "postgresql://gw:hunter2@db.example.org/audit": ("http://db.example.org", False, "network"),
        "postgresql:///audit?host=/run/postgresql": ("unix:", False, "unix"),
    }.items():
        with subtests.test(url=url):
            monkeypatch.setenv("DATABASE", url)
            found = hop(config, "audit.database")
            assert (found["address"], found["encrypted"], found["reach"]) == expected
            assert "hunter2" not in json.dumps(found)


def test_a_database_that_cannot_be_read_counts_as_not_encrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE", raising=False)
    found = hop(configured(audit={"database": "env:DATABASE"}), "audit.database")
    assert (found["encrypted"], found["reach"]) == (False, "network")


def test_every_reference_of_the_configuration_is_found() -> None:
    config = configured(
        backends=[{"name": "vllm", "url": "http://127.0.0.1:8000/v1", "credential": "env:KEY"}],
        audit={"sinks": [{"type": "http", "name": "siem", "url": "https://siem.example.org", "token": "env:TOKEN"}]},
    )
    found = references_of(config)
    assert found["backends.vllm.credential"] == "env:KEY"
    assert found["audit.sinks.siem.token"] == "env:TOKEN"
    assert found["identity.seal_key"] == "file:seal.key"


def test_touching_a_file_makes_no_secret_younger_and_a_new_value_does(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("canary-7f3a")
    secret.chmod(0o600)
    config = configured(backends=[{"name": "vllm", "url": "http://127.0.0.1:8000/v1", "credential": f"file:{secret}"}])
    clock = Clock(int(secret.stat().st_mtime) * 10**9 + 10 * 24 * HOUR_NS)

    def age() -> int:
        ages = SecretAges(tmp_path, b"k" * 32, ReferenceStore().read, clock)
        states = {each["purpose"]: each for each in ages.inventory(config, 90)}
        assert states["backends.vllm.credential"]["max_age_seconds"] == 90 * 86_400
        return int(states["backends.vllm.credential"]["age_seconds"])

    assert age() == 10 * 86_400
    secret.touch()
    assert age() == 10 * 86_400
    secret.write_text("another-value")
    clock.now = int(secret.stat().st_mtime) * 10**9 + 5 * 10**9
    assert age() == 5
    assert "canary" not in (tmp_path / FILE_NAME).read_text()
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o077 == 0


def test_a_secret_that_cannot_be_read_is_listed_as_such(tmp_path: Path) -> None:
    config = configured(
        backends=[{"name": "vllm", "url": "http://127.0.0.1:8000/v1", "credential": f"file:{tmp_path}/gone"}]
    )
    ages = SecretAges(tmp_path, b"k" * 32, ReferenceStore().read, Clock(10**18))
    state = next(each for each in ages.inventory(config, 90) if each["purpose"] == "backends.vllm.credential")
    assert state["readable"] is False
    assert "age_seconds" not in state


def test_counts_are_of_their_hour_and_the_last_ones_are_not_lost(tmp_path: Path) -> None:
    log, clock, counted = Log(), Clock(1000 * HOUR_NS + 1), [Counted()]
    observation = observed(log, clock, tmp_path, configured(), counted)
    observation.tend()
    assert log.of("gateway.counts") == []
    counted[0] = Counted(accepted=3, requests=10, allow=8, deny=2, backends={"vllm": 8})
    clock.now = 1001 * HOUR_NS
    observation.tend()
    counted[0] = Counted(accepted=3, requests=15, allow=13, deny=2, in_flight=1, backends={"vllm": 12})
    clock.now += 60 * 10**9
    observation.end()
    first, last = log.of("gateway.counts")
    assert (first["requests"], first["decisions"]) == (10, {"allow": 8, "deny": 2})
    assert (last["requests"], last["decisions"], last["in_flight"]) == (5, {"allow": 5, "deny": 0}, 1)
    assert last["backends"] == [{"backend": "vllm", "answers": 4}]
    assert first["until"] == last["since"]


def test_hops_and_secrets_are_described_each_day_and_for_each_configuration(tmp_path: Path) -> None:
    log, clock = Log(), Clock(1000 * 24 * HOUR_NS)
    configs = [configured()]
    ages = SecretAges(tmp_path, b"k" * 32, ReferenceStore().read, clock)
    observation = SelfObservation(log, lambda: configs[0], Counted, ages, tuple, clock)  # type: ignore[arg-type]
    observation.tend()
    observation.tend()
    assert len(log.of("gateway.hops")) == len(log.of("secret.inventory")) == 1
    configs[0] = configured()
    observation.tend()
    assert len(log.of("gateway.hops")) == 2
    clock.now += 24 * HOUR_NS
    observation.tend()
    assert len(log.of("gateway.hops")) == len(log.of("secret.inventory")) == 3


def test_what_a_full_disk_refuses_is_written_later_and_nothing_is_counted_twice(tmp_path: Path) -> None:
    log, clock, counted = Log(), Clock(1000 * HOUR_NS), [Counted(requests=4)]
    observation = observed(log, clock, tmp_path, configured(), counted)
    log.healthy = False
    clock.now = 1001 * HOUR_NS
    observation.tend()
    log.healthy = True
    counted[0] = Counted(requests=9)
    observation.tend()
    assert len(log.of("gateway.hops")) == 1
    assert [fields["requests"] for fields in log.of("gateway.counts")] == [9]


def test_a_full_disk_or_damaged_counters_stop_nothing_else_and_no_count_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, clock = Log(), Clock(1000 * HOUR_NS)
    found: list[Counted | Exception] = [OSError("damaged")]

    def counters() -> Counted:
        if isinstance(found[0], Exception):
            raise found[0]
        return found[0]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gateway.secret_ages.write_private", full)
    monkeypatch.setenv("KEY", "canary")
    config = configured(backends=[{"name": "vllm", "url": "http://127.0.0.1:8000/v1", "credential": "env:KEY"}])
    ages = SecretAges(tmp_path, b"k" * 32, ReferenceStore().read, clock)
    observation = SelfObservation(log, lambda: config, counters, ages, tuple, clock)  # type: ignore[arg-type]
    for hour in range(1, 3):
        clock.now = (1000 + hour) * HOUR_NS
        observation.tend()
        observation.tend()
    assert (len(log.of("gateway.hops")), len(log.of("secret.inventory")), log.of("gateway.counts")) == (1, 1, [])
    found[0] = Counted(requests=7)
    clock.now = 1003 * HOUR_NS
    observation.tend()
    assert [(each["since"], each["requests"]) for each in log.of("gateway.counts")] == [(str(1000 * HOUR_NS), 7)]


def test_counters_that_began_anew_are_counted_from_nothing(tmp_path: Path) -> None:
    log, clock, counted = Log(), Clock(1000 * HOUR_NS), [Counted(requests=100, allow=90, backends={"vllm": 80})]
    observation = observed(log, clock, tmp_path, configured(), counted)
    clock.now += HOUR_NS
    observation.tend()
    counted[0] = Counted(requests=5, allow=4, backends={"vllm": 3})
    clock.now += HOUR_NS
    observation.tend()
    last = log.of("gateway.counts")[-1]
    assert (last["requests"], last["decisions"]["allow"], last["backends"][0]["answers"]) == (5, 4, 3)


def test_more_hops_than_a_record_has_room_for_are_in_several_and_none_is_left_out(tmp_path: Path) -> None:
    names = [f"b{number:02}" for number in range(50)]
    config = configured(
        backends=[{"name": name, "url": "https://gpu.example.org/v1"} for name in names],
        models=[{"name": "m", "backends": names}],
    )
    log, clock = Log(), Clock(1000 * HOUR_NS)
    observed(log, clock, tmp_path, config, [Counted()]).tend()
    told = [each["hop"] for fields in log.of("gateway.hops") for each in fields["hops"]]
    assert len(log.of("gateway.hops")) == 3
    assert told == [each["hop"] for each in hops_of(config)]


def test_backends_beyond_those_that_are_named_are_counted_together(tmp_path: Path) -> None:
    log, clock = Log(), Clock(1000 * HOUR_NS)
    observation = observed(log, clock, tmp_path, configured(), [Counted(backends={f"b{n:03}": 1 for n in range(130)})])
    observation.end()
    backends = log.of("gateway.counts")[0]["backends"]
    assert backends[-1] == {"backend": "others", "answers": 30}
    assert sum(each["answers"] for each in backends) == 130


def test_whom_the_log_and_the_trust_domain_speak_to_is_among_the_hops(tmp_path: Path) -> None:
    signer = CosignatureSigner("witness.example.org/w", Ed25519PrivateKey.generate(), lambda: 1)
    log_signer = Ed25519Signer("example.org/audit", Ed25519PrivateKey.generate())
    policy = tmp_path / "witnesses.policy"
    policy.write_text(
        f"log {log_signer.verifier_key}\nwitness w {signer.verifier_key} https://witness.example.org\nquorum w\n"
    )
    config = configured(
        audit={"witnesses": {"policy_file": str(policy)}},
        identity={"federated": [{"trust_domain": "other.example", "url": "https://other.example/bundle"}]},
    )
    assert hop(config, "audit.witness:w")["carries"] == "digests"
    assert hop(config, "identity.federated:other.example")["encrypted"] is True


def test_identities_are_listed_each_day_in_parts_and_retired_ones_are_not(tmp_path: Path) -> None:
    log, clock = Log(), Clock(1000 * 24 * HOUR_NS)
    ages = SecretAges(tmp_path, b"k" * 32, ReferenceStore().read, clock)
    agents = [
        Agent(f"spiffe://example.org/agent/{number:02}", "agent", "team", "ada", "active", "low", created_at=number)
        for number in range(30)
    ]
    agents[3] = replace(agents[3], status="retired")
    agents[4] = replace(agents[4], last_reviewed=77)
    configs = [configured()]
    observation = SelfObservation(log, lambda: configs[0], Counted, ages, lambda: agents, clock)  # type: ignore[arg-type]
    observation.tend()
    configs[0] = configured()
    observation.tend()
    listed = [each for fields in log.of("identity.inventory") for each in fields["identities"]]
    assert [each["agent"][-2:] for each in listed] == [f"{number:02}" for number in range(30) if number != 3]
    assert [each["reviewed_at"] for each in listed if "reviewed_at" in each] == [77]
    clock.now += 24 * HOUR_NS
    observation.tend()
    assert len(log.of("identity.inventory")) == 4
