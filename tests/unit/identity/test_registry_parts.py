"""The parts of the inventory: entries, revocations of each kind, join tokens, nodes, replay, usage, who may do what."""

import json
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from identity.clock import NANOSECONDS
from identity.entries import Entry, matching
from identity.errors import EntryError, RegistryError, SpiffeIdError
from identity.registry import LIFTABLE, REVOCATION_KINDS, Registry, Usage
from identity.registry.admission import UsedTokens
from identity.registry.entry_store import entry_of

TD = "home.test"
AGENT = f"spiffe://{TD}/agent/a"
OTHER = f"spiffe://{TD}/agent/b"
NODE = f"spiffe://{TD}/node/one"
NODE2 = f"spiffe://{TD}/node/two"
BY = "operator:alex"
NOW = 1_800_000_000


class Time:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now * NANOSECONDS


@pytest.fixture
def clock():
    return Time()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "registry.sqlite"


@pytest.fixture
def registry(path, clock):
    registry = Registry(path, clock)
    yield registry
    registry.close()


def add(registry, spiffe_id=AGENT, **changes):
    given = {"team": "blue", "owner": "kim@example.org", "purpose": "answers mail", "by": BY}
    return registry.register(spiffe_id, **{**given, **changes})


def entry(spiffe_id=AGENT, parent_id=NODE, uid=1000, **changes):
    return Entry("", spiffe_id, parent_id, frozenset({f"unix:uid:{uid}"}), **changes)


def test_an_entry_is_kept_whole_and_found_in_the_snapshot(registry):
    made = registry.entries.create(
        entry(
            x509_ttl_seconds=120, jwt_ttl_seconds=60, federates_with=("away.test",), dns_names=("a.example",),
            hint="internal", admin=True, downstream=True, expires_at=NOW + 60,
        ),
        by=BY,
    )  # fmt: skip
    assert (made.revision, made.created_at) == (0, NOW)
    assert registry.entries.get(made.entry_id) == made
    assert (
        registry.entries.all()
        == registry.entries.all(spiffe_id=AGENT)
        == registry.entries.all(parent_id=NODE)
        == [made]
    )
    assert registry.entries.all(spiffe_id=OTHER) == []
    assert matching(registry.snapshot().entries, NODE, {"unix:uid:1000"}, NOW) == (made,)
    assert len(registry.snapshot(entries=False).entries) == 0


def test_an_entry_that_says_what_another_says_is_refused(registry):
    made = registry.entries.create(entry(), by=BY)
    with pytest.raises(EntryError, match=made.entry_id):
        registry.entries.create(entry(), by=BY)
    with pytest.raises(EntryError, match="there is an entry"):
        registry.entries.create(Entry(made.entry_id, OTHER, NODE, frozenset({"unix:uid:1"})), by=BY)
    with pytest.raises(EntryError, match="there already"):
        registry.entries.create_all([entry(uid=5), entry(uid=5)], by=BY)
    assert registry.generation() == 1
    assert len(registry.entries.all()) == 1


def test_changing_an_entry_raises_its_revision_and_deleting_takes_it_from_the_next_snapshot(registry):
    made = registry.entries.create(entry(), by=BY)
    before = registry.snapshot()
    changed = registry.entries.update(made.entry_id, {"hint": "x", "selectors": frozenset({"unix:uid:7"})}, by=BY)
    assert (changed.revision, changed.hint, changed.created_at) == (1, "x", NOW)
    assert matching(registry.snapshot().entries, NODE, {"unix:uid:7"}, NOW) == (changed,)
    assert matching(registry.snapshot().entries, NODE, {"unix:uid:1000"}, NOW) == ()
    registry.entries.delete(made.entry_id, by=BY)
    assert len(registry.snapshot().entries) == 0
    assert before.entries.get(made.entry_id) == made


def test_a_change_of_an_entry_that_is_not_allowed_changes_nothing(registry):
    made = registry.entries.create(entry(), by=BY)
    other = registry.entries.create(entry(uid=7), by=BY)
    for changes, message in (
        ({"x509_ttl_seconds": 1}, "x509_ttl_seconds"),
        ({"revision": 9}, "revision cannot be changed"),
        ({"spiffe_id": "spiffe://other.test/a"}, "own one"),
        ({"selectors": other.selectors}, "there already"),
    ):
        with pytest.raises(EntryError, match=message):
            registry.entries.update(made.entry_id, changes, by=BY)
    for act in (registry.entries.get, lambda i: registry.entries.delete(i, by=BY)):
        with pytest.raises(EntryError, match="govctl entry list"):
            act("00000000-0000-0000-0000-000000000000")
        with pytest.raises(EntryError, match="UUID"):
            act("no-uuid")
    assert registry.entries.get(made.entry_id) == made
    assert registry.generation() == 2


def test_ten_thousand_entries_are_made_in_one_change_and_read_once(registry, monkeypatch):
    registry.entries.create_all([entry(f"spiffe://{TD}/agent/{n}", uid=n) for n in range(10_000)], by=BY)
    assert registry.generation() == 1
    assert len(registry.snapshot().entries) == 10_000
    add(registry)
    read = []
    monkeypatch.setattr(
        "identity.registry.entry_store.entry_of", lambda row, real=entry_of: read.append(row) or real(row)
    )
    assert len(registry.snapshot().entries) == 10_000
    assert read == []


@pytest.mark.parametrize("kind", REVOCATION_KINDS)
def test_each_kind_of_revocation_refuses_what_it_names_and_nothing_else_and_survives_a_restart(
    path, registry, clock, kind
):
    first = registry.entries.create(entry(), by=BY)
    second = registry.entries.create(entry(OTHER, NODE2, 7), by=BY)
    registry.record_svid("a1", AGENT, NOW + 60, entry_id=first.entry_id, node_id=NODE)
    registry.record_svid("b2", OTHER, NOW + 60, entry_id=second.entry_id, node_id=NODE2)
    subject = {"id": AGENT, "entry": first.entry_id, "serial": "A1", "authority": "AB:CD", "node": NODE}[kind]
    before = registry.snapshot()
    made = registry.revocations.revoke(kind, subject, "lost", by=BY)
    registry.close()
    snapshot = Registry(path, clock).snapshot()
    assert snapshot.generation == before.generation + 1
    assert before.refusal(AGENT, "a1", ["abcd"]) is None
    assert "is revoked: lost" in snapshot.refusal(AGENT, "a1", ["abcd"])
    assert snapshot.refusal(OTHER, "b2", ["ef01"]) is None
    assert (made.reason, made.by, made.at) == ("lost", BY, NOW)


def test_who_shows_no_serial_is_not_refused_for_the_serial_zero(registry):
    registry.revocations.revoke("serial", "00", "lost", by=BY)
    snapshot = registry.snapshot()
    assert snapshot.refusal(AGENT, "") is None
    assert not snapshot.is_revoked("")
    assert snapshot.refusal(AGENT, "0")


@pytest.mark.parametrize("kind", ["id", "entry", "node"])
def test_what_is_lifted_stands_again(registry, kind):
    made = registry.entries.create(entry(), by=BY)
    registry.record_svid("a1", AGENT, NOW + 60, entry_id=made.entry_id, node_id=NODE)
    subject = {"id": AGENT, "entry": made.entry_id, "node": NODE}[kind]
    registry.revocations.revoke(kind, subject, "lost", by=BY)
    snapshot = registry.snapshot()
    assert snapshot.refusal(AGENT, "a1")
    assert matching(snapshot.entries, NODE, made.selectors, NOW) == ()
    with pytest.raises(RegistryError, match=f"govctl agent lift --{kind}"):
        registry.record_svid("a2", AGENT, NOW + 60, entry_id=made.entry_id, node_id=NODE)
    registry.revocations.lift(kind, subject, by=BY)
    snapshot = registry.snapshot()
    assert snapshot.refusal(AGENT, "a1") is None
    assert matching(snapshot.entries, NODE, made.selectors, NOW) == (made,)
    registry.record_svid("a2", AGENT, NOW + 60, entry_id=made.entry_id, node_id=NODE)
    with pytest.raises(RegistryError, match="is not revoked"):
        registry.revocations.lift(kind, subject, by=BY)


def test_nothing_is_issued_through_a_deleted_entry_and_what_was_can_still_be_revoked(registry):
    made = registry.entries.create(entry(), by=BY)
    registry.record_svid("a1", AGENT, NOW + 60, entry_id=made.entry_id)
    registry.entries.delete(made.entry_id, by=BY)
    with pytest.raises(RegistryError, match="there is no entry"):
        registry.record_svid("a2", AGENT, NOW + 60, entry_id=made.entry_id)
    registry.revocations.revoke("entry", made.entry_id, "lost", by=BY)
    assert registry.snapshot().refusal(AGENT, "a1")


@pytest.mark.parametrize("kind", sorted(set(REVOCATION_KINDS) - set(LIFTABLE)))
def test_certificates_and_authorities_stay_revoked(registry, kind):
    registry.revocations.revoke(kind, "ab", "lost", by=BY)
    with pytest.raises(RegistryError, match="final"):
        registry.revocations.lift(kind, "ab", by=BY)


def test_a_revoked_node_refuses_its_children_by_name_unless_they_run_elsewhere_too(registry):
    registry.entries.create(entry(), by=BY)
    registry.entries.create(entry(OTHER), by=BY)
    registry.entries.create(entry(OTHER, NODE2), by=BY)
    registry.record_svid("b1", OTHER, NOW + 60, node_id=NODE)
    registry.record_svid("b2", OTHER, NOW + 60, node_id=NODE2)
    registry.revocations.revoke("node", NODE, "stolen", by=BY)
    snapshot = registry.snapshot()
    assert snapshot.refusal(NODE, "01")
    assert snapshot.refusal(AGENT, "not-on-record")
    assert snapshot.refusal(OTHER, "b1")
    assert snapshot.is_revoked("b1")
    assert snapshot.refusal(OTHER, "b2") is None
    with pytest.raises(RegistryError, match="revoked"):
        registry.nodes.record(NODE, "join_token", [], "01")


@pytest.mark.parametrize(
    ("kind", "subject", "error"),
    [
        ("id", "agent", SpiffeIdError),
        ("id", f"spiffe://{TD}", RegistryError),
        ("node", f"spiffe://{TD}", RegistryError),
        ("entry", "00000000-0000-0000-0000-000000000000", RegistryError),
        ("entry", "x", RegistryError),
        ("authority", "a b", RegistryError),
        ("authority", "", RegistryError),
        ("everything", "x", RegistryError),
    ],
)
def test_what_cannot_be_revoked_is_refused_and_changes_nothing(registry, kind, subject, error):
    with pytest.raises(error):
        registry.revocations.revoke(kind, subject, "lost", by=BY)
    assert registry.generation() == 0


def test_a_revocation_is_kept_at_least_until_its_end_then_dropped(registry, clock):
    registry.record_svid("a1", AGENT, NOW + 60)
    assert registry.revocations.revoke("serial", "00:A1", "lost", by=BY).not_after == NOW + 60
    assert registry.revocations.revoke("id", OTHER, "lost", by=BY).not_after == 0
    clock.now = NOW + 60
    assert registry.revocations.purge() == 0
    assert registry.snapshot().refusal(AGENT, "a1")
    generation = registry.generation()
    clock.now = NOW + 61
    assert registry.revocations.purge() == 1
    assert registry.revocations.purge() == 0
    assert registry.generation() == generation + 1
    assert [each.subject for each in registry.revocations.all()] == [OTHER]


def test_what_is_revoked_elsewhere_refuses_nobody_here(registry):
    add(registry)
    snapshot = registry.snapshot()
    authorities = ("ab" * 20, "cd" * 20)
    assert snapshot.refusal(AGENT, "ab12", authorities) is None
    registry.revocations.revoke("id", OTHER, "lost", by=BY)
    registry.revocations.revoke("authority", "ef" * 20, "lost", by=BY)
    snapshot = registry.snapshot()
    assert snapshot.refusal(AGENT, "ab12", authorities) is None
    assert snapshot.refusal(AGENT, "ab12", ("ef" * 20,))


def test_a_join_token_lets_in_once_however_many_ask_at_once(path, registry, clock):
    token, expires_at = registry.join_tokens.create(NODE, 60, by=BY)
    assert expires_at == NOW + 60
    gate = threading.Barrier(8)

    def join():
        mine = Registry(path, clock)
        gate.wait()
        try:
            return mine.join_tokens.use(token)
        except RegistryError as error:
            return str(error)
        finally:
            mine.close()

    with ThreadPoolExecutor(8) as pool:
        answers = [each.result() for each in [pool.submit(join) for _ in range(8)]]
    assert answers.count(NODE) == 1
    assert all("used before" in answer for answer in answers if answer != NODE)


def test_a_join_token_that_is_late_unknown_or_of_a_revoked_node_lets_nobody_in(registry, clock):
    late, _ = registry.join_tokens.create(NODE, 60, by=BY)
    clock.now += 60
    with pytest.raises(RegistryError, match="expired"):
        registry.join_tokens.use(late)
    with pytest.raises(RegistryError, match="unknown"):
        registry.join_tokens.use("guess")
    held, _ = registry.join_tokens.create(NODE, 60, by=BY)
    registry.revocations.revoke("node", NODE, "stolen", by=BY)
    with pytest.raises(RegistryError, match="is revoked"):
        registry.join_tokens.use(held)
    with pytest.raises(RegistryError, match="is revoked"):
        registry.join_tokens.create(NODE, 60, by=BY)


@pytest.mark.parametrize(("node", "ttl"), [(NODE, 9), (NODE, 86_401), (f"spiffe://{TD}", 60)])
def test_a_join_token_out_of_bounds_is_not_made(registry, node, ttl):
    with pytest.raises(RegistryError):
        registry.join_tokens.create(node, ttl, by=BY)


def test_the_token_itself_is_nowhere_in_the_file(path, registry):
    token, _ = registry.join_tokens.create(NODE, 60, by=BY)
    registry.close()
    assert all(token.encode() not in each.read_bytes() for each in path.parent.iterdir())


def test_a_node_keeps_its_first_attestation_and_shows_its_ban(registry, clock):
    registry.nodes.record(NODE, "join_token", ["join_token:id:x"], "01")
    clock.now += 5
    node = registry.nodes.record(NODE, "x509pop", ["x509pop:san:x"], "02")
    assert (node.method, node.serial, node.selectors) == ("x509pop", "02", {"x509pop:san:x"})
    assert (node.first_attested, node.last_attested, node.banned) == (NOW, NOW + 5, False)
    registry.revocations.revoke("node", NODE, "stolen", by=BY)
    assert registry.nodes.get(NODE).banned
    with pytest.raises(RegistryError, match="never attested"):
        registry.nodes.get(NODE2)


def test_a_token_shown_twice_is_known_until_it_expires_and_no_more_are_taken_than_fit(registry, clock):
    tokens = UsedTokens(registry._database, capacity=2)
    assert tokens.use("a", NOW + 10)
    assert not tokens.use("a", NOW + 10)
    assert tokens.use("b", NOW + 20)
    with pytest.raises(RegistryError, match="no more fit"):
        tokens.use("c", NOW + 20)
    clock.now += 11
    assert tokens.use("c", NOW + 20)


def test_calls_add_up_by_identity_resource_and_action_and_raise_no_generation(registry):
    add(registry)
    generation = registry.generation()
    registry.usage.record([Usage(AGENT, "m", "model.infer", 2, NOW + 5), Usage(AGENT, "n", "model.embed", 1, NOW + 3)])
    registry.usage.record(
        [Usage(AGENT, "m", "model.infer", 3, NOW + 4), Usage("spiffe://home.test/x", "m", "a", 1, NOW)]
    )
    registry.usage.record([])
    assert registry.usage.of(AGENT) == [
        Usage(AGENT, "m", "model.infer", 5, NOW + 5),
        Usage(AGENT, "n", "model.embed", 1, NOW + 3),
    ]
    agent = registry.get(AGENT)
    assert (agent.calls, agent.first_seen, agent.last_seen) == (6, NOW + 3, NOW + 5)
    assert registry.generation() == generation


@pytest.mark.parametrize("owner", ["ada", "ada@example.org", "operator:ada", "ADA@example.org"])
def test_the_owner_neither_activates_a_high_risk_identity_nor_releases_it_from_quarantine(registry, owner):
    with pytest.raises(RegistryError, match="register it as pending first"):
        add(registry, owner=owner, risk_tier="high", by="operator:ada")
    add(registry, owner=owner, risk_tier="high", status="pending", by="operator:ada")
    with pytest.raises(RegistryError, match="somebody other than its owner"):
        registry.set_status(AGENT, "active", "please", by="operator:ada")
    registry.set_status(AGENT, "active", "checked", by="operator:bo")
    registry.set_status(AGENT, "quarantined", "odd calls", by="operator:ada")
    with pytest.raises(RegistryError, match="has to release it"):
        registry.set_status(AGENT, "suspended", "fine", by="operator:ada")
    registry.set_status(AGENT, "suspended", "fine", by="operator:bo")
    assert [(each.by, each.before, each.after, each.reason) for each in registry.history(AGENT)] == [
        ("operator:ada", "", "pending", "registered"),
        ("operator:bo", "pending", "active", "checked"),
        ("operator:ada", "active", "quarantined", "odd calls"),
        ("operator:bo", "quarantined", "suspended", "fine"),
    ]


def test_the_owner_does_not_raise_the_risk_of_an_active_identity(registry):
    add(registry)
    with pytest.raises(RegistryError, match="somebody other than its owner"):
        registry.describe(AGENT, {"risk_tier": "high"}, by="operator:kim")
    assert registry.describe(AGENT, {"risk_tier": "high"}, by=BY).risk_tier == "high"


def test_a_change_without_an_actor_is_refused(registry):
    with pytest.raises(RegistryError, match="who makes it"):
        add(registry, by=" ")
    with pytest.raises(RegistryError, match="who makes it"):
        registry.entries.create(entry(), by="")
    with pytest.raises(RegistryError, match="who makes it"):
        registry.revocations.revoke("id", AGENT, "lost", by="")


def test_describing_changes_the_named_fields_only(registry):
    before = add(registry)
    after = registry.describe(AGENT, {"owner": "lee", "attributes": {"a": "b"}, "review_due": NOW + 9}, by=BY)
    assert (after.owner, after.attributes, after.review_due, after.purpose) == (
        "lee",
        {"a": "b"},
        NOW + 9,
        before.purpose,
    )
    assert registry.snapshot().get(AGENT) == after
    for changes, message in (
        ({"status": "active"}, "cannot be changed"),
        ({"team": ""}, "team"),
        ({"kind": "x"}, "kind"),
    ):
        with pytest.raises(RegistryError, match=message):
            registry.describe(AGENT, changes, by=BY)
    registry.set_status(AGENT, "retired", "done", by=BY)
    with pytest.raises(RegistryError, match="retired"):
        registry.describe(AGENT, {"owner": "x"}, by=BY)


def test_an_identity_past_its_expiry_is_suspended_and_says_why(registry, clock):
    add(registry, expires_at=NOW + 10)
    add(registry, OTHER)
    assert registry.suspend_expired(by="gateway") == []
    assert registry.generation() == 2
    clock.now += 10
    assert [agent.id for agent in registry.suspend_expired(by="gateway")] == [AGENT]
    assert registry.get(AGENT).status_reason == "its registration has expired"
    assert registry.suspend_expired(by="gateway") == []


def test_a_second_snapshot_is_what_a_fresh_reader_sees(path, registry, clock):
    def whole(snapshot):
        return (
            snapshot.generation,
            dict(snapshot.agents),
            sorted(e.entry_id for e in snapshot.entries),
            snapshot.refusals,
        )

    fresh = Registry(path, clock)
    made = registry.entries.create(entry(), by=BY)
    changes = [
        lambda: add(registry),
        lambda: registry.entries.create(entry(OTHER), by=BY),
        lambda: registry.set_status(AGENT, "suspended", "x", by=BY),
        lambda: registry.revocations.revoke("id", OTHER, "x", by=BY),
        lambda: registry.entries.delete(made.entry_id, by=BY),
        lambda: registry.revocations.lift("id", OTHER, by=BY),
    ]
    for change in changes:
        change()
        once = Registry(path, clock)
        assert whole(registry.snapshot()) == whole(once.snapshot()) == whole(fresh.snapshot())
        once.close()
    fresh.close()


def test_an_inventory_of_another_version_is_refused_with_the_remedy(path, clock):
    Registry(path, clock).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    with pytest.raises(RegistryError, match=r"schema version 1.*govctl identity apply"):
        Registry(path, clock)
    older = path.with_name("older.sqlite")
    with sqlite3.connect(older) as connection:
        connection.execute("CREATE TABLE agents (id TEXT)")
    connection.close()
    with pytest.raises(RegistryError, match="schema version 0"):
        Registry(older, clock)


def test_reviews_decide_at_once_and_show_what_nobody_decided(registry, clock):
    add(registry)
    add(registry, OTHER)
    third = add(registry, f"spiffe://{TD}/agent/c").id
    gone = add(registry, f"spiffe://{TD}/agent/d").id
    registry.set_status(gone, "retired", "done", by=BY)
    reviews = registry.reviews
    reviews.start("q1", NOW + 100, [AGENT, OTHER, third, gone], by=BY)
    reviews.decide("q1", AGENT, "keep", "in use", NOW + 1000, by=BY)
    reviews.decide("q1", OTHER, "suspend", "who knows", 0, by=BY)
    assert (registry.get(AGENT).last_reviewed, registry.get(AGENT).review_due) == (NOW, NOW + 1000)
    assert registry.get(OTHER).status == "suspended"
    assert [(i.id, i.decision, i.overdue) for i in reviews.items("q1")] == [
        (AGENT, "keep", False), (OTHER, "suspend", False), (third, "", False),
    ]  # fmt: skip
    with pytest.raises(RegistryError, match="not part of"):
        reviews.decide("q1", gone, "keep", "x", 0, by=BY)
    clock.now += 100
    with pytest.raises(RegistryError, match="deadline"):
        reviews.decide("q1", third, "keep", "x", 0, by=BY)
    assert [i.overdue for i in reviews.items("q1")] == [False, False, True]
    assert [i.overdue for i in reviews.close("q1", by=BY)] == [False, False, True]
    assert reviews.get("q1").closed_at == NOW + 100
    with pytest.raises(RegistryError, match="closed"):
        reviews.close("q1", by=BY)
    assert json.dumps([c.name for c in reviews.all()]) == '["q1"]'


def test_a_review_without_name_future_deadline_or_identities_is_not_started(registry):
    add(registry)
    for name, deadline, ids, message in (
        (" ", NOW + 1, [AGENT], "name"),
        ("q", NOW, [AGENT], "future"),
        ("q", NOW + 1, [], "no identity"),
        ("q", NOW + 1, [OTHER], "not registered"),
    ):
        with pytest.raises(RegistryError, match=message):
            registry.reviews.start(name, deadline, ids, by=BY)
    registry.reviews.start("q", NOW + 1, [AGENT], by=BY)
    with pytest.raises(RegistryError, match="already"):
        registry.reviews.start("q", NOW + 1, [AGENT], by=BY)
    with pytest.raises(RegistryError, match="decision"):
        registry.reviews.decide("q", AGENT, "burn", "x", 0, by=BY)
    with pytest.raises(RegistryError, match="no review"):
        registry.reviews.items("other")
