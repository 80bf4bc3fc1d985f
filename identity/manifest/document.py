"""The declarative file of identities and registration entries: its keys, their types, and the way back to a file.

```yaml
agents:
  - id: spiffe://example.org/agent/reader
    team: research
    owner: ada@example.org
    purpose: reads papers
    status: pending        # when it is registered; later states are not the file's business
    review_due: 2030-06-30
entries:
  - spiffe_id: spiffe://example.org/agent/reader
    parent_id: spiffe://example.org/gateway
    selectors: [unix:uid:1000]
```

Times are dates, times of day with their zone, or UNIX seconds.
"""

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from identity.entries import Entry, validate
from identity.errors import IdentityError, ManifestError
from identity.registry.inventory import DESCRIPTION, Agent, check_description
from identity.spiffe_id import SpiffeId


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a file asks for: identities by SPIFFE ID, and entries; an entry without id has an empty `entry_id`."""

    agents: tuple[Agent, ...] = ()
    entries: tuple[Entry, ...] = ()


def parse(document: Any, trust_domain: str, federated: Collection[str] = ()) -> Manifest:
    """Check a document that was read from a file.

    Args:
        document: mappings, lists, texts, numbers, truth values and dates.
        trust_domain: the own trust domain.
        federated: further trust domains whose identities may be registered.

    Raises:
        ManifestError: every problem found, one a line, each with its place.
    """
    problems: list[str] = []
    sections = _mapping(document, "the file", ("agents", "entries"), problems)
    agents = [
        agent
        for place, item in _items(sections, "agents", problems)
        if (agent := _agent(item, place, {trust_domain, *federated}, problems)) is not None
    ]
    entries = [
        entry
        for place, item in _items(sections, "entries", problems)
        if (entry := _entry(item, place, trust_domain, problems)) is not None
    ]
    _once((agent.id for agent in agents), "agents", problems)
    _once((entry.entry_id for entry in entries if entry.entry_id), "entries", problems)
    _once((_sense(entry) for entry in entries), "entries", problems)
    if problems:
        raise ManifestError("\n".join(problems))
    return Manifest(
        tuple(sorted(agents, key=lambda agent: agent.id)),
        tuple(sorted(entries, key=lambda entry: (entry.spiffe_id, entry.parent_id, sorted(entry.selectors)))),
    )


def export(agents: Iterable[Agent], entries: Iterable[Entry]) -> dict[str, Any]:
    """Return the document that asks for these identities and entries, without retired ones and without defaults.

    An identity that does not stand is written as pending: a file must not bring back what was suspended.
    """
    return {
        "agents": [
            {"id": agent.id, **_changed(agent, DESCRIPTION)}
            | ({} if agent.status == "active" else {"status": "pending"})
            for agent in sorted(agents, key=lambda agent: agent.id)
            if agent.status != "retired"
        ],
        "entries": [
            {"entry_id": entry.entry_id, **_changed(entry, tuple(_ENTRY_KEYS))}
            for entry in sorted(entries, key=lambda entry: (entry.spiffe_id, entry.parent_id, sorted(entry.selectors)))
        ],
    }


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("write a text; put it in quotes if it looks like a number or a truth value")  # noqa: TRY004
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("write a whole number")  # noqa: TRY004 - collected with the values that are out of range
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("write true or false")  # noqa: TRY004 - as above
    return value


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise ValueError("write a list of texts")  # noqa: TRY004 - as above
    return [_text(item) for item in value]


def _attributes(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError("write a mapping of names to texts")  # noqa: TRY004 - as above
    return {_text(name): _text(item) for name, item in value.items()}


def _time(value: Any) -> int:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return int((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp())
    if isinstance(value, date):
        return int(datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp())
    return _number(value)


_Reader = Callable[[Any], Any]

_TIMES = frozenset({"review_due", "expires_at"})
_LAST_SECOND = 253_402_300_799
"""The end of the year 9999, beyond which a date cannot be written."""

_AGENT_KEYS: Mapping[str, _Reader] = {
    "id": _text,
    "kind": _text,
    "team": _text,
    "owner": _text,
    "purpose": _text,
    "status": _text,
    "risk_tier": _text,
    "system": _text,
    "environment": _text,
    "attributes": _attributes,
    "review_due": _time,
    "expires_at": _time,
}
_ENTRY_KEYS: Mapping[str, _Reader] = {
    "entry_id": _text,
    "spiffe_id": _text,
    "parent_id": _text,
    "selectors": lambda value: frozenset(_texts(value)),
    "x509_ttl_seconds": _number,
    "jwt_ttl_seconds": _number,
    "federates_with": lambda value: tuple(_texts(value)),
    "dns_names": lambda value: tuple(_texts(value)),
    "hint": _text,
    "admin": _truth,
    "downstream": _truth,
    "expires_at": _time,
}


def _agent(item: Any, place: str, trust_domains: Collection[str], problems: list[str]) -> Agent | None:
    values = _values(item, place, _AGENT_KEYS, ("id", "team", "owner", "purpose"), problems)
    if values is None:
        return None
    agent = Agent(**({"kind": "agent", "status": "active", "risk_tier": "limited"} | values))
    try:
        parsed = SpiffeId.parse(agent.id)
        agent = Agent(**{name: getattr(agent, name) for name in Agent.__slots__ if name != "id"}, id=str(parsed))
        if parsed.trust_domain.name not in trust_domains:
            raise ManifestError(f"{parsed} is of a trust domain that this gateway does not know")
        if agent.status not in {"pending", "active"}:
            raise ManifestError("status: a file registers identities as pending or active; see: govctl agent")
        check_description(agent)
    except IdentityError as error:
        problems.append(f"{place}: {error}")
        return None
    return agent


def _entry(item: Any, place: str, trust_domain: str, problems: list[str]) -> Entry | None:
    values = _values(item, place, _ENTRY_KEYS, ("spiffe_id", "parent_id", "selectors"), problems)
    if values is None:
        return None
    try:
        if "entry_id" in values:
            values["entry_id"] = str(UUID(values["entry_id"]))
        return validate(Entry(**({"entry_id": ""} | values)), trust_domain)
    except (IdentityError, ValueError) as error:
        problems.append(f"{place}: {error}")
        return None


def _values(
    item: Any, place: str, keys: Mapping[str, _Reader], required: Iterable[str], problems: list[str]
) -> dict[str, Any] | None:
    before = len(problems)
    given = _mapping(item, place, tuple(keys), problems)
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in keys:
            continue
        try:
            values[key] = keys[key](value)
        except (ValueError, OverflowError) as error:
            problems.append(f"{place}.{key}: {error}")
    if isinstance(item, dict):
        problems += [f"{place}.{key}: this key is required" for key in required if key not in given]
    return values if len(problems) == before else None


def _mapping(value: Any, place: str, known: tuple[str, ...], problems: list[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        problems.append(f"{place}: write a mapping of these keys: {', '.join(known)}")
        return {}
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys here: {', '.join(known)}"
            problems.append(f"{place}: unknown key {key!r}; {hint}")
    return value


def _items(sections: Mapping[str, Any], name: str, problems: list[str]) -> list[tuple[str, Any]]:
    value = sections.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        problems.append(f"{name}: write a list")
        return []
    return [(f"{name}[{number}]", item) for number, item in enumerate(value)]


def _once(names: Iterable[str], section: str, problems: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            problems.append(f"{section}: {name} is given twice")
        seen.add(name)


def _sense(entry: Entry) -> str:
    return f"the entry for {entry.spiffe_id} under {entry.parent_id} with {', '.join(sorted(entry.selectors))}"


def _changed(value: Agent | Entry, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the named fields that are not at their default, as plain values."""
    defaults = {field.name: field.default for field in fields(value) if field.default is not MISSING}
    shown = {}
    for name in names:
        given = getattr(value, name)
        if name == "entry_id" or given == defaults.get(name, MISSING) or given in ({}, frozenset()):
            continue
        shown[name] = _written(name, given)
    return shown


def _written(name: str, value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return list(value)
    if name in _TIMES and value <= _LAST_SECOND:
        return datetime.fromtimestamp(value, UTC).isoformat().replace("+00:00", "Z")
    return value
