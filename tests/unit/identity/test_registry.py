"""The inventory: what it refuses, how states change, what the gateway sees of it, and several processes at once."""

import multiprocessing
import sqlite3
import stat
import subprocess
import sys
import time

import pytest

from identity.clock import NANOSECONDS
from identity.errors import RegistryError, SpiffeIdError
from identity.registry import STATUSES, Registry

AGENT = "spiffe://home.test/agent/a"
NOW = 1_800_000_000
BY = "operator:alex"
WHOLE = {"team": "blue", "owner": "kim", "purpose": "answers mail", "by": BY}


def clock():
    return NOW * NANOSECONDS


def add(registry, spiffe_id=AGENT, **changes):
    return registry.register(spiffe_id, **{**WHOLE, **changes})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "registry.sqlite"


@pytest.fixture
def registry(path):
    registry = Registry(path, clock)
    yield registry
    registry.close()


def test_what_was_registered_is_found_again_also_after_the_file_was_closed(path, registry):
    agent = add(registry, kind="pipeline", risk_tier="high", system="mail", attributes={"region": "eu"})
    assert (agent.id, agent.kind, agent.team, agent.owner) == (AGENT, "pipeline", "blue", "kim")
    assert (agent.status, agent.risk_tier, agent.system) == ("active", "high", "mail")
    assert (dict(agent.attributes), agent.created_at) == ({"region": "eu"}, NOW)
    registry.close()
    again = Registry(path, clock)
    assert again.get(AGENT) == again.snapshot().get(AGENT) == agent
    again.close()


def test_an_id_is_kept_and_found_in_its_canonical_form(registry):
    assert add(registry, "SPIFFE://Home.TEST/agent/a").id == AGENT
    assert registry.get("spiffe://HOME.test/agent/a").id == AGENT
    assert registry.snapshot().get(AGENT) is not None
    with pytest.raises(RegistryError, match="registered already"):
        add(registry, "spiffe://HOME.test/agent/a")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "robot"}, "kind"),
        ({"risk_tier": "prohibited"}, "risk tier"),
        ({"status": "asleep"}, "status"),
        ({"team": " "}, "team"),
        ({"owner": ""}, "owner"),
        ({"purpose": ""}, "purpose"),
        ({"spiffe_id": "spiffe://home.test"}, "trust domain"),
    ],
)
def test_a_registration_that_is_not_whole_is_refused_and_changes_nothing(registry, changes, message):
    with pytest.raises(RegistryError, match=message):
        add(registry, **changes)
    assert registry.generation() == 0
    assert registry.all() == []


def test_a_text_that_is_no_id_is_refused_everywhere(registry):
    for ask in (
        add,
        registry.__class__.get,
        lambda r, i: r.set_status(i, "active", "x", by=BY),
        registry.__class__.svids,
    ):
        with pytest.raises(SpiffeIdError):
            ask(registry, "agent-a")


def test_an_unknown_identity_is_named_with_the_remedy(registry):
    with pytest.raises(RegistryError, match=f"govctl agent register {AGENT}"):
        registry.get(AGENT)
    with pytest.raises(RegistryError, match="not registered"):
        registry.set_status(AGENT, "suspended", "test", by=BY)
    assert registry.generation() == 0
    assert registry.snapshot().get(AGENT) is None


ALLOWED = {
    ("pending", "active"), ("pending", "retired"),
    ("active", "suspended"), ("active", "quarantined"), ("active", "retired"),
    ("suspended", "active"), ("suspended", "quarantined"), ("suspended", "retired"),
    ("quarantined", "suspended"), ("quarantined", "retired"),
}  # fmt: skip


def reach(registry, status):
    """Register an identity and bring it into a state."""
    add(registry, status="pending" if status == "pending" else "active")
    if status not in {"pending", "active"}:
        registry.set_status(AGENT, status, "on its way", by=BY)


@pytest.mark.parametrize("before", STATUSES)
@pytest.mark.parametrize("after", STATUSES)
def test_a_status_changes_only_along_the_allowed_ways(registry, before, after):
    reach(registry, before)
    generation = registry.generation()
    if (before, after) in ALLOWED:
        changed = registry.set_status(AGENT, after, "a reason", by=BY)
        assert (changed.status, changed.status_reason) == (after, "a reason")
        assert registry.snapshot().get(AGENT) == changed
    else:
        with pytest.raises(RegistryError, match=f"is {before}"):
            registry.set_status(AGENT, after, "a reason", by=BY)
        assert registry.get(AGENT).status == before
        assert registry.generation() == generation


def test_a_change_of_status_and_a_revocation_need_a_reason(registry):
    add(registry)
    with pytest.raises(RegistryError, match="reason"):
        registry.set_status(AGENT, "suspended", " ", by=BY)
    with pytest.raises(RegistryError, match="reason"):
        registry.revoke_serial("ab", "", by=BY)


def test_every_change_raises_the_generation_by_one_and_reading_does_not(registry):
    seen = [registry.generation()]
    for change in (
        lambda: add(registry),
        lambda: registry.set_status(AGENT, "suspended", "test", by=BY),
        lambda: registry.revoke_serial("ab", "lost", by=BY),
    ):
        change()
        registry.snapshot(), registry.all(), registry.get(AGENT)
        seen.append(registry.generation())
    assert seen == [0, 1, 2, 3]
    assert registry.snapshot().generation == 3


def test_a_snapshot_does_not_change_when_the_inventory_does(registry):
    add(registry)
    before = registry.snapshot()
    registry.set_status(AGENT, "quarantined", "test", by=BY)
    registry.revoke_serial("ab", "lost", by=BY)
    assert before.get(AGENT).status == "active"
    assert not before.is_revoked("ab")
    after = registry.snapshot()
    assert after.get(AGENT).status == "quarantined"
    assert after.is_revoked("ab")


@pytest.mark.parametrize("written", ["ab12", "AB12", "00ab12", "0xAB12", "AB:12", "00:ab:12", "0xAB:12"])
def test_a_serial_is_revoked_in_the_form_in_which_a_peer_shows_it(registry, written):
    registry.revoke_serial(written, "lost", by=BY)
    assert registry.snapshot().is_revoked(f"{0xAB12:x}")


@pytest.mark.parametrize("serial", ["", "xyz", "ab cd", "-1", "a" * 65, "ab\n", "0x", "a::b", ":", "0xg"])
def test_what_is_no_serial_is_not_revoked(registry, serial):
    with pytest.raises(RegistryError, match="hexadecimal"):
        registry.revoke_serial(serial, "lost", by=BY)
    assert registry.generation() == 0


def test_a_serial_revoked_twice_keeps_its_first_reason(path, registry):
    registry.revoke_serial("ab", "lost", by=BY)
    registry.revoke_serial("ab", "something else", by=BY)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT reason FROM revocations").fetchall() == [("lost",)]
    connection.close()


def test_issued_certificates_are_listed_by_identity_and_do_not_raise_the_generation(registry):
    add(registry)
    generation = registry.generation()
    registry.record_svid("a1", AGENT, NOW + 3600)
    registry.record_svid("a2", "spiffe://home.test/agent/b", NOW + 7200)
    assert registry.svids(AGENT) == [
        {
            "serial": "a1", "id": AGENT, "issued_at": NOW, "not_after": NOW + 3600,
            "entry_id": "", "node_id": "", "authority_id": "",
        }
    ]  # fmt: skip
    assert registry.generation() == generation
    with pytest.raises(RegistryError, match="on record already"):
        registry.record_svid("a1", AGENT, NOW + 3600)


def test_the_file_and_its_journal_are_private(path, registry):
    add(registry)
    files = list(path.parent.iterdir())
    assert len(files) == 3  # database, journal, its index
    assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}


def test_the_file_is_written_through_and_lets_readers_read_meanwhile(registry):
    with registry._database.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


def test_reading_waits_for_no_writer(path, registry):
    add(registry)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE generation SET value = 99")
    start = time.monotonic()
    assert registry.generation() == registry.snapshot().generation == 1
    assert registry.get(AGENT).id == AGENT
    assert time.monotonic() - start < 5  # a reader that waited would wait ten seconds, then fail
    writer.execute("COMMIT")
    writer.close()
    assert registry.generation() == 99


def test_a_file_that_is_no_inventory_is_refused_by_name(tmp_path):
    path = tmp_path / "registry.sqlite"
    path.write_bytes(b"certainly not a database" * 100)
    with pytest.raises(RegistryError, match=str(path)):
        Registry(path, clock)
    with pytest.raises(RegistryError, match=str(tmp_path)):
        Registry(tmp_path, clock)


def test_an_inventory_that_breaks_while_it_is_open_is_an_error_of_this_room(path, registry):
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE generation")
    connection.close()
    for ask in (registry.generation, registry.snapshot, lambda: add(registry)):
        with pytest.raises(RegistryError, match=str(path)):
            ask()


def _write(path, name, count):
    registry = Registry(path, time.time_ns)
    for number in range(count):
        spiffe_id = f"spiffe://home.test/{name}/{number}"
        add(registry, spiffe_id)
        registry.record_svid(f"{name}{number:x}", spiffe_id, NOW)
        registry.set_status(spiffe_id, "suspended", "test", by=BY)
    registry.close()


def test_processes_that_write_at_once_lose_nothing_and_a_reader_sees_whole_changes_only(path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(path, name, 15)) for name in ("a", "b", "c")]
    for writer in writers:
        writer.start()
    reader = Registry(path, clock)
    last = 0
    while any(writer.is_alive() for writer in writers):
        snapshot = reader.snapshot()
        changes = sum(1 if agent.status == "active" else 2 for agent in snapshot.agents.values())
        assert snapshot.generation == changes
        assert snapshot.generation >= last
        last = snapshot.generation
        time.sleep(0.01)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert reader.generation() == 3 * 15 * 2
    assert len(reader.all()) == 45
    reader.close()


def test_a_writer_that_is_killed_leaves_the_inventory_whole(path, registry):
    code = (
        "import sys, time, pathlib\n"
        "from identity.registry import Registry\n"
        "registry = Registry(pathlib.Path(sys.argv[1]), time.time_ns)\n"
        "number = 0\n"
        "while True:\n"
        "    registry.register(f'spiffe://home.test/{number}', team='t', owner='o', purpose='p', by='x')\n"
        "    print(number, flush=True)\n"
        "    number += 1\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        confirmed = [int(writer.stdout.readline()) for _ in range(5)]
        writer.kill()
        confirmed += [int(line) for line in writer.stdout if line.endswith("\n")]
    snapshot = registry.snapshot()
    assert all(snapshot.get(f"spiffe://home.test/{number}") for number in confirmed)
    assert snapshot.generation == len(snapshot.agents) >= len(confirmed)
    add(registry)
    assert registry.generation() == snapshot.generation + 1
