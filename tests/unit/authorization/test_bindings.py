"""The index of bindings finds what a scan of all bindings finds, at every moment."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.authorization.bindings import BindingIndex
from gateway.authorization.policy_data import PolicyData, check_policy_data

PERMISSIONS = [{"actions": ["model.infer"], "resources": ["*"]}]
ROLES = ("reader", "writer", "tester")
IDS = ("spiffe://example.org/a", "spiffe://example.org/b")
TEAMS, KINDS = ("red", "kind:agent"), ("agent", "human")
SUBJECTS = (*IDS, *(f"team:{team}" for team in TEAMS), *(f"kind:{kind}" for kind in KINDS))
START = 1_796_000_000


def written(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@st.composite
def grants(draw: st.DrawFn) -> dict[str, Any]:
    start = draw(st.integers(START, START + 20))
    grant: dict[str, Any] = {
        "role": draw(st.sampled_from(ROLES)),
        "not_after": written(start + draw(st.integers(1, 10))),
        "reason": "because",
        "approved_by": "grace@example.org",
        "break_glass": draw(st.booleans()),
    }
    if grant["break_glass"] or draw(st.booleans()):
        grant["not_before"] = written(start)
    return grant


BINDINGS = st.dictionaries(
    st.sampled_from(SUBJECTS), st.lists(st.one_of(st.sampled_from(ROLES), grants()), max_size=4), max_size=6
)


def tables(bindings: dict[str, Any]) -> PolicyData:
    roles = {role: {"permissions": PERMISSIONS} for role in ROLES}
    return check_policy_data(Path("p"), {"govgateway": {"roles": roles, "bindings": bindings}})


@given(
    bindings=BINDINGS,
    principal=st.sampled_from((*IDS, "team:red")),
    team=st.sampled_from((*TEAMS, "")),
    kind=st.sampled_from(KINDS),
    now=st.integers(START - 2, START + 32),
)
def test_roles_of_a_moment_are_those_that_a_scan_finds(
    bindings: dict[str, Any], principal: str, team: str, kind: str, now: int
) -> None:
    held: set[str] = set()
    ordinary: set[str] = set()
    own = [principal] if principal.startswith("spiffe://") else []
    for subject in (*own, f"team:{team}", f"kind:{kind}"):
        for binding in bindings.get(subject, []):
            if isinstance(binding, str):
                held.add(binding)
                ordinary.add(binding)
            elif binding.get("not_before", "") <= written(now) < binding["not_after"]:
                held.add(binding["role"])
                if not binding["break_glass"]:
                    ordinary.add(binding["role"])
    index = BindingIndex(tables(bindings))
    assert index.roles(principal, team, kind, now) == tuple(sorted(held))
    assert index.break_glass(principal, team, kind, now) == tuple(sorted(held - ordinary))


def test_grant_holds_from_its_first_second_until_before_its_last() -> None:
    grant = {
        "role": "reader",
        "not_before": written(START),
        "not_after": written(START + 10),
        "reason": "because",
        "approved_by": "grace@example.org",
    }
    index = BindingIndex(tables({IDS[0]: [grant]}))
    held = [index.roles(IDS[0], "", "", START + offset) for offset in (-1, 0, 9, 10)]
    assert held == [(), ("reader",), ("reader",), ()]
