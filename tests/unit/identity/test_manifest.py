"""The declarative file: what it may say, plans that are deterministic and whole, and applying all or nothing."""

import tempfile
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from identity.clock import NANOSECONDS
from identity.errors import ManifestError, RegistryError
from identity.manifest import apply, export, parse, plan
from identity.registry import Registry

TD = "home.test"
AGENT = f"spiffe://{TD}/agent/a"
OTHER = f"spiffe://{TD}/agent/b"
GATEWAY = f"spiffe://{TD}/gateway"
NOW = 1_800_000_000
BY = "operator:alex"


def agent(spiffe_id=AGENT, **changes):
    return {"id": spiffe_id, "team": "blue", "owner": "kim", "purpose": "answers mail", **changes}


def entry(spiffe_id=AGENT, uid=1000, **changes):
    return {"spiffe_id": spiffe_id, "parent_id": GATEWAY, "selectors": [f"unix:uid:{uid}"], **changes}


@pytest.fixture
def registry(tmp_path):
    registry = Registry(tmp_path / "registry.sqlite", lambda: NOW * NANOSECONDS)
    yield registry
    registry.close()


def carry_out(registry, document, *, prune=False):
    made = plan(registry.contents(), parse(document, TD), prune=prune)
    apply(registry, made, by=BY)
    return made


def told(made):
    return [(change.action, change.kind, change.name) for change in made.changes]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "the file: write a mapping"),
        ({"agent": []}, "unknown key 'agent'; did you mean 'agents'"),
        ({"agents": {}}, "agents: write a list"),
        ({"agents": ["x"]}, r"agents\[0\]: write a mapping"),
        ({"agents": [agent(ownr="x")]}, r"agents\[0\]: unknown key 'ownr'; did you mean 'owner'"),
        ({"agents": [{"id": AGENT}]}, r"agents\[0\].team: this key is required"),
        ({"agents": [agent(team=7)]}, r"agents\[0\].team: write a text"),
        ({"agents": [agent(kind="robot")]}, "'robot' is not a kind"),
        ({"agents": [agent("agent/a")]}, "does not begin with"),
        ({"agents": [agent("spiffe://other.test/a")]}, "does not know"),
        ({"agents": [agent(f"spiffe://{TD}")]}, "not an identity"),
        ({"agents": [agent(status="quarantined")]}, "pending or active"),
        ({"agents": [agent(attributes=["a"])]}, "attributes: write a mapping"),
        ({"agents": [agent(expires_at="soon")]}, "expires_at: "),
        ({"agents": [agent(expires_at=True)]}, "expires_at: write a whole number"),
        ({"agents": [agent(), agent("spiffe://HOME.test/agent/a")]}, f"{AGENT} is given twice"),
        ({"entries": [entry(selectors=[])]}, r"entries\[0\]: selectors"),
        ({"entries": [entry(selectors="unix:uid:1")]}, "selectors: write a list"),
        ({"entries": [entry(selectors=["unix:uyd:1"])]}, "did you mean 'uid'"),
        ({"entries": [entry(admin="yes")]}, "admin: write true or false"),
        ({"entries": [entry(x509_ttl_seconds="60")]}, "x509_ttl_seconds: write a whole number"),
        ({"entries": [entry(x509_ttl_seconds=1)]}, "x509_ttl_seconds: 1 seconds"),
        ({"entries": [entry(entry_id="x")]}, r"entries\[0\]: badly formed"),
        ({"entries": [entry(), entry(hint="other")]}, "is given twice"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_place_and_the_remedy(document, message):
    with pytest.raises(ManifestError, match=message):
        parse(document, TD)


def test_all_problems_are_told_at_once():
    with pytest.raises(ManifestError) as caught:
        parse({"agents": [agent(kind="x"), {"id": AGENT}], "entries": [entry(hint=1)]}, TD)
    assert len(str(caught.value).splitlines()) == 5


def test_identities_of_federated_domains_may_be_registered():
    assert parse({"agents": [agent("spiffe://away.test/a")]}, TD, ["away.test"]).agents[0].id == "spiffe://away.test/a"


@pytest.mark.parametrize(
    "written",
    [1_893_456_000, date(2030, 1, 1), datetime(2030, 1, 1, tzinfo=UTC), "2030-01-01", "2030-01-01T01:00+01:00"],
)
def test_times_are_dates_or_seconds(written):
    assert parse({"agents": [agent(review_due=written)]}, TD).agents[0].review_due == 1_893_456_000


def test_a_plan_creates_updates_and_leaves_alone_and_applying_it_leaves_nothing_to_do(registry):
    document = {"agents": [agent(), agent(OTHER)], "entries": [entry(), entry(OTHER, hint="x")]}
    first = carry_out(registry, document)
    assert told(first) == [
        ("create", "agent", AGENT),
        ("create", "agent", OTHER),
        ("create", "entry", f"{AGENT} (unix:uid:1000)"),
        ("create", "entry", f"{OTHER} (unix:uid:1000)"),
    ]
    assert registry.generation() == 1
    again = carry_out(registry, document)
    assert (again.changes, again.unchanged, again.left_alone) == ((), 4, ())
    changed = carry_out(registry, {"agents": [agent(owner="lee")], "entries": [entry(hint="y")]})
    assert [(c.action, c.kind, [(f.name, f.before, f.after) for f in c.fields]) for c in changed.changes] == [
        ("update", "agent", [("owner", "kim", "lee")]),
        ("update", "entry", [("hint", "", "y")]),
    ]
    assert changed.left_alone == (OTHER, f"{OTHER} (unix:uid:1000)")
    assert registry.get(AGENT).owner == "lee"
    assert registry.entries.all(spiffe_id=AGENT)[0].revision == 1
    assert registry.generation() == 2


def test_only_pruning_deletes_entries_and_retires_identities(registry):
    carry_out(registry, {"agents": [agent(), agent(OTHER)], "entries": [entry(), entry(OTHER)]})
    made = carry_out(registry, {"agents": [agent()], "entries": [entry()]}, prune=True)
    assert told(made) == [("delete", "entry", f"{OTHER} (unix:uid:1000)"), ("delete", "agent", OTHER)]
    assert registry.get(OTHER).status == "retired"
    assert registry.entries.all(spiffe_id=OTHER) == []
    assert carry_out(registry, {"agents": [agent()], "entries": [entry()]}, prune=True).changes == ()
    with pytest.raises(ManifestError, match="final"):
        carry_out(registry, {"agents": [agent(OTHER)]})


def test_new_selectors_replace_an_entry_that_is_named_by_id_or_pruned(registry):
    carry_out(registry, {"entries": [entry()]})
    entry_id = registry.entries.all()[0].entry_id
    carry_out(registry, {"entries": [entry(uid=7, entry_id=entry_id)]})
    assert [(e.entry_id, set(e.selectors)) for e in registry.entries.all()] == [(entry_id, {"unix:uid:7"})]
    carry_out(registry, {"entries": [entry(uid=8)]}, prune=True)
    assert [set(e.selectors) for e in registry.entries.all()] == [{"unix:uid:8"}]


def test_a_file_never_brings_back_what_was_suspended(registry):
    carry_out(registry, {"agents": [agent()]})
    registry.set_status(AGENT, "quarantined", "odd calls", by=BY)
    assert carry_out(registry, {"agents": [agent(status="active")]}).changes == ()
    assert registry.get(AGENT).status == "quarantined"
    assert export(registry.all(), [])["agents"][0]["status"] == "pending"


def test_a_plan_is_refused_once_the_inventory_has_changed(registry):
    made = plan(registry.contents(), parse({"agents": [agent()]}, TD))
    registry.revocations.revoke("id", OTHER, "lost", by=BY)
    with pytest.raises(RegistryError, match="make the plan again"):
        apply(registry, made, by=BY)
    assert registry.all() == []
    assert registry.generation() == 1


def test_a_change_that_is_refused_takes_the_whole_file_back(registry):
    document = {"agents": [agent(), agent(OTHER, owner="alex", risk_tier="high")], "entries": [entry()]}
    with pytest.raises(RegistryError, match="somebody other than its owner"):
        carry_out(registry, document)
    assert (registry.all(), registry.entries.all(), registry.generation()) == ([], [], 0)


def test_ten_thousand_entries_are_applied_in_one_change(registry):
    carry_out(registry, {"entries": [entry(f"spiffe://{TD}/agent/{n}", n) for n in range(10_000)]})
    assert registry.generation() == 1
    assert len(registry.entries.all()) == 10_000


words = st.text("abc ü#:'\"-", min_size=1, max_size=8).filter(str.strip)
ids = st.integers(0, 5).map(lambda n: f"spiffe://{TD}/agent/{n}")
agents = st.builds(
    agent, ids, owner=words, team=words, purpose=words, risk_tier=st.sampled_from(["minimal", "limited"]),
    attributes=st.dictionaries(words, words, max_size=2), review_due=st.integers(0, 2**33) | st.just(2**50),
)  # fmt: skip
entries = st.builds(
    entry, ids, st.integers(0, 3), hint=words, admin=st.booleans(), dns_names=st.lists(st.sampled_from(["a", "b.c"]))
)
documents = st.fixed_dictionaries(
    {
        "agents": st.lists(agents, unique_by=lambda a: a["id"], max_size=4),
        "entries": st.lists(entries, unique_by=lambda e: (e["spiffe_id"], e["selectors"][0]), max_size=4),
    }
)


@settings(max_examples=40)
@given(documents, documents)
def test_applying_any_file_over_any_other_gives_what_it_says_and_the_export_says_the_same(before, after):
    with tempfile.TemporaryDirectory() as directory:
        registry = Registry(Path(directory) / "registry.sqlite", lambda: NOW * NANOSECONDS)
        carry_out(registry, before)
        carry_out(registry, after, prune=True)
        assert plan(registry.contents(), parse(after, TD), prune=True).changes == ()
        document = yaml.safe_load(yaml.safe_dump(export(registry.all(), registry.entries.all())))
        assert plan(registry.contents(), parse(document, TD), prune=True).changes == ()
        dropped = {a["id"] for a in before["agents"]} - {a["id"] for a in after["agents"]}
        assert {a.id for a in registry.all() if a.status == "retired"} == dropped
        registry.close()
