"""Registration entries: every field's rule, and matching by the definition, however many entries there are."""

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.entries import MAX_HINT_BYTES, MAX_SELECTORS, Entry, EntryIndex, matching, validate
from identity.errors import EntryError
from identity.selectors import check_selector

TD = "home.test"
NODE = f"spiffe://{TD}/node/one"
NOW = 1_800_000_000


def entry(number=1, **changes):
    given = {
        "entry_id": str(UUID(int=number)),
        "spiffe_id": f"spiffe://{TD}/agent/{number}",
        "parent_id": NODE,
        "selectors": frozenset({"unix:uid:1000"}),
    }
    return Entry(**{**given, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spiffe_id": "agent"}, "spiffe_id: 'agent' does not begin"),
        ({"spiffe_id": "spiffe://other.test/a"}, "own one, home.test"),
        ({"spiffe_id": f"spiffe://{TD}"}, "spiffe_id: .*names the trust domain"),
        ({"parent_id": "spiffe://other.test/node"}, "parent_id: .*own one, home.test"),
        ({"parent_id": f"spiffe://{TD}"}, "parent_id: .*names the trust domain"),
        ({"spiffe_id": NODE}, "its own parent"),
        ({"selectors": frozenset()}, "every workload"),
        ({"selectors": frozenset(f"unix:uid:{n}" for n in range(MAX_SELECTORS + 1))}, "at most 64"),
        ({"selectors": frozenset({"unx:uid:1"})}, "did you mean 'unix'"),
        ({"x509_ttl_seconds": 59}, "x509_ttl_seconds: 59"),
        ({"x509_ttl_seconds": 86_401}, "60 to 86400"),
        ({"x509_ttl_seconds": -1}, "out of bounds"),
        ({"jwt_ttl_seconds": 29}, "jwt_ttl_seconds: 29"),
        ({"jwt_ttl_seconds": 3601}, "30 to 3600"),
        ({"federates_with": ("UP!",)}, "federates_with: .*not a trust domain"),
        ({"federates_with": (TD,)}, "own trust domain"),
        ({"dns_names": ("*.example.org",)}, "not a DNS name"),
        ({"dns_names": ("a..b",)}, "not a DNS name"),
        ({"dns_names": ("-a.b",)}, "not a DNS name"),
        ({"dns_names": (".".join(["a" * 63] * 4) + ".b",)}, "not a DNS name"),
        ({"dns_names": tuple(f"n{n}" for n in range(65))}, "at most 64"),
        ({"hint": "x" * (MAX_HINT_BYTES + 1)}, "hint"),
        ({"hint": "a\nb"}, "hint"),
        ({"expires_at": -1}, "expires_at"),
        ({"expires_at": 2**53}, "expires_at"),
    ],
)
def test_a_field_that_is_not_allowed_is_refused_by_name(changes, message):
    with pytest.raises(EntryError, match=message):
        validate(entry(**changes), TD)


def test_an_entry_is_kept_in_canonical_form():
    kept = validate(
        entry(
            spiffe_id="SPIFFE://HOME.test/agent/A",
            federates_with=("spiffe://B.test", "a.test", "b.test"),
            dns_names=("Z.example", "a.example", "z.example"),
        ),
        TD,
    )
    assert kept.spiffe_id == "spiffe://home.test/agent/A"
    assert kept.federates_with == ("a.test", "b.test")
    assert kept.dns_names == ("z.example", "a.example")
    assert validate(kept, TD) == kept


@pytest.mark.parametrize(
    "selector",
    [
        "unix:uid:0",
        "unix:supplementary_group:audio",
        "unix:path:/usr/bin/python3",
        f"unix:sha256:{'ab' * 32}",
        "systemd:id:agent.service",
        f"container:id:{'0f' * 32}",
        "docker:label:app:reader",
        "k8s:pod-label:app:reader",
        "k8s_psat:agent_ns:spire",
        "x509pop:subject:cn:node one",
        f"x509pop:ca:fingerprint:{'a1' * 20}",
        "oidc:github:repository:example/app",
        "spiffe_id:spiffe://home.test/node/one",
    ],
)
def test_selectors_that_attestors_report_are_taken(selector):
    assert check_selector(selector) == selector


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("", "type:value"),
        ("unix", "type:value"),
        ("unix:", "type:value"),
        (":uid:1", "type:value"),
        ("unix:uid", "a number"),
        ("unix:uid:", "a number"),
        ("unix:uid:01", "a number"),
        ("unix:uid:-1", "a number"),
        ("unix:uid:root", "a number"),
        ("unix:gdi:1", "did you mean 'gid'"),
        ("unix:path:bin/sh", "an absolute path"),
        (f"unix:sha256:{'AB' * 32}", "64 digits"),
        ("unix:user: kim", "without spaces"),
        ("docker:label:app", "NAME:VALUE"),
        ("oidc:github::x", "ISSUER:CLAIM:VALUE"),
        ("spiffe_id:home.test/node", "a SPIFFE ID"),
        ("kubernetes:ns:default", "no selectors of type"),
        ("unix:user:" + "x" * 2048, "at most 2048"),
    ],
)
def test_a_selector_that_no_attestor_reports_is_refused_with_what_is_needed(selector, message):
    with pytest.raises(EntryError, match=message):
        check_selector(selector)


def test_an_entry_matches_only_if_all_its_selectors_do():
    index = EntryIndex([entry(selectors=frozenset({"unix:uid:1000", "unix:gid:7"}))])
    assert matching(index, NODE, {"unix:uid:1000"}, NOW) == ()
    assert matching(index, NODE, {"unix:gid:7"}, NOW) == ()
    assert matching(index, NODE, set(), NOW) == ()
    assert len(matching(index, NODE, {"unix:uid:1000", "unix:gid:7", "unix:path:/bin/sh"}, NOW)) == 1


def test_an_entry_matches_under_its_own_parent_and_until_the_second_it_expires():
    index = EntryIndex([entry(expires_at=NOW)])
    held = {"unix:uid:1000"}
    assert len(matching(index, NODE, held, NOW - 1)) == 1
    assert matching(index, NODE, held, NOW) == ()
    assert matching(index, f"spiffe://{TD}/node/two", held, NOW - 1) == ()


def test_an_entry_without_selectors_is_never_indexed():
    with pytest.raises(EntryError, match="every workload"):
        EntryIndex([entry(selectors=frozenset())])


SELECTORS = [f"unix:uid:{n}" for n in range(6)]
some_entries = st.lists(
    st.builds(
        entry,
        st.integers(1, 50),
        parent_id=st.sampled_from([NODE, f"spiffe://{TD}/node/two"]),
        selectors=st.frozensets(st.sampled_from(SELECTORS), min_size=1),
        expires_at=st.sampled_from([0, NOW - 1, NOW, NOW + 1]),
        created_at=st.integers(0, 3),
    ),
    unique_by=lambda each: each.entry_id,
    max_size=30,
)


@given(some_entries, st.sets(st.sampled_from(SELECTORS)))
def test_matching_is_the_plain_definition(entries, held):
    plain = [
        each
        for each in entries
        if each.parent_id == NODE
        and all(selector in held for selector in each.selectors)
        and (each.expires_at == 0 or each.expires_at > NOW)
    ]
    plain.sort(key=lambda each: (each.created_at, each.entry_id))
    assert matching(EntryIndex(entries), NODE, held, NOW) == tuple(plain)


@given(some_entries, st.sets(st.sampled_from(SELECTORS)), st.sampled_from(SELECTORS))
def test_knowing_more_of_a_workload_never_takes_an_entry_away(entries, held, more):
    index = EntryIndex(entries)
    assert set(matching(index, NODE, held, NOW)) <= set(matching(index, NODE, held | {more}, NOW))


def test_a_look_up_among_ten_thousand_entries_opens_few_of_them():
    common = "unix:uid:1000"
    index = EntryIndex(entry(n, selectors=frozenset({common, f"unix:path:/opt/agent-{n}"})) for n in range(1, 10_001))
    held = {common, "unix:path:/opt/agent-77", "unix:gid:1000"}
    assert len(list(index.candidates(NODE, held))) <= 2
    found = matching(index, NODE, held, NOW)
    assert [each.spiffe_id for each in found] == [f"spiffe://{TD}/agent/77"]
    assert index.get(found[0].entry_id) == found[0]
    assert len(index) == len(list(index)) == 10_000


def test_entries_with_other_fields_are_other_entries():
    assert replace(entry(), hint="x") != entry()
