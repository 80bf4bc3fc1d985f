"""The limits of the policy data."""

from typing import Any

import pytest

from gateway.errors import ConfigError
from gateway.quota.ledger import Limit
from gateway.quota.limits import LimitTable

AGENT = "spiffe://example.org/agent/researcher"


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({"name": "starter", "scope": "agent"}, "it limits nothing"),
        ({"name": "starter", "scope": "agent", "tokens_per_minute": 0}, "tokens_per_minute"),
        ({"name": "starter", "scope": "agent", "tokens_per_minute": -5}, "tokens_per_minute"),
        ({"name": "starter", "scope": "agent", "tokens_per_minute": 10**12 + 1}, "tokens_per_minute"),
        ({"name": "starter", "scope": "agent", "requests_per_minute": "60"}, "requests_per_minute"),
        ({"name": "starter", "scope": "agent", "requests_per_minute": 1.5}, "requests_per_minute"),
        ({"name": "starter", "scope": "agent", "requests_per_minute": True}, "requests_per_minute"),
        ({"name": "starter", "scope": "everyone", "requests_per_minute": 1}, "scope"),
        ({"name": "starter", "requests_per_minute": 1}, "scope"),
        ({"name": "starter", "scope": "agent", "request_per_minute": 1}, "request_per_minute"),
        ({"name": "starter", "scope": "agent", "requests_per_minute": 1, "match": {"teams": "x"}}, "match.teams"),
    ],
)
def test_a_mistake_is_refused_and_names_the_limit_and_the_place(entry: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match="quota limit starter: ") as refusal:
        LimitTable.from_data([entry])
    assert complaint in str(refusal.value)


@pytest.mark.parametrize("name", ["", "Upper", "with space", 'quote"', "-first", "x" * 65, "pipe|"])
def test_a_name_that_could_break_a_header_or_a_key_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        LimitTable.from_data([{"name": name, "scope": "agent", "requests_per_minute": 1}])


def test_a_limit_without_a_name_is_told_by_its_number() -> None:
    good = {"name": "one", "scope": "agent", "requests_per_minute": 1}
    with pytest.raises(ConfigError, match="quota limit number 1: name"):
        LimitTable.from_data([good, {"scope": "agent", "requests_per_minute": 1}])


def test_an_entry_that_is_not_a_mapping_is_refused() -> None:
    with pytest.raises(ConfigError, match="quota limit number 0"):
        LimitTable.from_data(["requests_per_minute"])  # type: ignore[list-item]


def test_a_name_given_twice_is_refused() -> None:
    entry = {"name": "starter", "scope": "agent", "requests_per_minute": 1}
    with pytest.raises(ConfigError, match="starter is defined twice"):
        LimitTable.from_data([entry, entry])


@pytest.mark.parametrize(
    ("match", "applies"),
    [
        ({}, True),
        ({"team": "search"}, True),
        ({"team": "other"}, False),
        ({"kind": "agent"}, True),
        ({"kind": "human"}, False),
        ({"id": AGENT}, True),
        ({"id": "spiffe://example.org/agent/*"}, True),
        ({"id": "*/researcher"}, True),
        ({"id": "spiffe://example.org/agent"}, False),
        ({"id": AGENT.upper()}, False),
        ({"team": "search", "kind": "human"}, False),
        ({"team": "search", "kind": "agent", "id": "spiffe://other.org/*"}, False),
    ],
)
def test_a_limit_counts_only_those_that_match_in_everything_given(match: dict[str, str], applies: bool) -> None:
    table = LimitTable.from_data([{"name": "one", "scope": "agent", "match": match, "requests_per_minute": 1}])
    assert bool(table.for_principal(AGENT, "search", "agent")) is applies


def test_every_kind_becomes_a_limit_of_its_own_unit_and_window() -> None:
    entry = {
        "name": "all",
        "scope": "agent",
        "requests_per_minute": 1,
        "tokens_per_minute": 2,
        "tokens_per_day": 3,
        "concurrent_streams": 4,
    }
    assert LimitTable.from_data([entry]).for_principal(AGENT, "search", "agent") == (
        Limit("all-requests-per-minute", f"all-requests-per-minute|{AGENT}", "requests", 60, 1),
        Limit("all-tokens-per-minute", f"all-tokens-per-minute|{AGENT}", "tokens", 60, 2),
        Limit("all-tokens-per-day", f"all-tokens-per-day|{AGENT}", "tokens", 86_400, 3),
        Limit("all-concurrent-streams", f"all-concurrent-streams|{AGENT}", "streams", 0, 4),
    )


def keys(scope: str, *principals: tuple[str, str]) -> list[str]:
    table = LimitTable.from_data([{"name": "one", "scope": scope, "requests_per_minute": 1}])
    return [table.for_principal(f"{AGENT}/{name}", team, "agent")[0].key for name, team in principals]


def test_the_agents_of_a_team_share_a_team_limit_and_another_team_does_not() -> None:
    first, second, other = keys("team", ("a", "search"), ("b", "search"), ("a", "other"))
    assert first == second != other


def test_each_agent_counts_for_itself_in_an_agent_limit() -> None:
    first, second = keys("agent", ("a", "search"), ("b", "search"))
    assert first != second


def test_a_team_named_as_an_agent_does_not_share_its_counter() -> None:
    table = LimitTable.from_data([{"name": "one", "scope": "team", "requests_per_minute": 1}])
    agents = LimitTable.from_data([{"name": "one", "scope": "agent", "requests_per_minute": 1}])
    team_key = table.for_principal("x", AGENT, "agent")[0].key
    assert team_key != agents.for_principal(AGENT, "x", "agent")[0].key


def test_what_was_looked_up_once_stays_right_beyond_the_size_of_the_cache() -> None:
    table = LimitTable.from_data(
        [{"name": "one", "scope": "agent", "match": {"team": "search"}, "requests_per_minute": 1}]
    )
    for number in range(10_050):
        assert table.for_principal(f"{AGENT}/{number}", "search", "agent")[0].key.endswith(f"/{number}")
    assert table.for_principal(f"{AGENT}/0", "other", "agent") == ()
