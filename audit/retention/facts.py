"""What retention needs to know of a record: its type, its time, which AI system and whom it concerns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_REFERENCES = ("intent", "of")
_PRINCIPALS = ("principal", "agent")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is read from a record.

    Attributes:
        system: the AI system; empty where the record concerns none.
        system_elsewhere: the record belongs to a call that another record describes, so that its system is not known
            here: whatever is kept for any system is kept of it as well.
        principals: everybody whom it names: the caller, for whom they act, and who was acted on.
    """

    event_id: str
    type: str
    time_ns: int
    system: str
    system_elsewhere: bool
    principals: frozenset[str]


def facts_of(document: Mapping[str, Any]) -> Facts:
    """Read a parsed record, which was checked to be one."""
    named = {document.get(name) for name in _PRINCIPALS}
    delegation = document.get("delegation")
    if isinstance(delegation, list):
        named |= {each for each in delegation if isinstance(each, str)}
    system = document.get("system")
    resource = document.get("resource")
    if not isinstance(system, str) and isinstance(resource, dict):
        system = resource.get("system")
    known = isinstance(system, str)
    return Facts(
        event_id=str(document["event_id"]),
        type=str(document["type"]),
        time_ns=int(document["time"]),
        system=system if isinstance(system, str) else "",
        system_elsewhere=not known and any(name in document for name in _REFERENCES),
        principals=frozenset(each for each in named if isinstance(each, str) and each),
    )
