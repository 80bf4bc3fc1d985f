"""Says what changed between two states of the register, key by key."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from compliance.register.loading import Register

_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """A change.

    Attributes:
        key: dotted key below the system; empty where the whole entry came or went.
        before: the value before; None where there was none.
        after: the value after; None where there is none.
    """

    system: str
    kind: Literal["added", "removed", "changed"]
    key: str = ""
    before: Any = None
    after: Any = None


def differences(before: Register, after: Register) -> list[Difference]:
    """Return what changed, by system and key."""
    old, new = before.tables.get("systems") or {}, after.tables.get("systems") or {}
    found: list[Difference] = []
    for system in sorted({*old, *new}):
        if system not in old:
            found.append(Difference(system, "added", after=new[system]))
        elif system not in new:
            found.append(Difference(system, "removed", before=old[system]))
        else:
            found += _between(system, "", old[system], new[system])
    return found


def _between(system: str, key: str, before: Any, after: Any) -> Iterator[Difference]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted({*before, *after}):
            place = f"{key}.{name}" if key else name
            yield from _between(system, place, before.get(name, _ABSENT), after.get(name, _ABSENT))
    elif before is _ABSENT:
        yield Difference(system, "added", key, after=after)
    elif after is _ABSENT:
        yield Difference(system, "removed", key, before=before)
    elif before != after or type(before) is not type(after):
        yield Difference(system, "changed", key, before, after)
