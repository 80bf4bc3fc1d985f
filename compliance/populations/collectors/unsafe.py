"""Options named unsafe, and from when to when each was in use."""

from compliance.populations.base import Entry, Value
from compliance.populations.collectors.base import Surroundings, base_of

TYPES = ("unsafe.option", "gateway.started", "gateway.stopped", "config.loaded")


class UnsafeOptions:
    """Follows which are in use: a start or reload names all of them anew, after its own record."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._in_use: list[dict[str, Value]] = []

    def take(self, entry: Entry) -> None:
        """Take a record."""
        if entry.type != "unsafe.option":
            self._tell(entry.time_ns)
        elif entry.time_ns < self._around.period.end_ns and "unwritable" not in entry.document:
            named: dict[str, Value] = {"option": str(entry.document["option"]), "first_seen": entry.time_ns}
            self._in_use.append({**base_of(entry), **named})

    def finish(self) -> None:
        """Give out what is in use to the end."""
        self._tell(self._around.end_ns)

    def _tell(self, until_ns: int) -> None:
        for row in self._in_use:
            if until_ns >= self._around.period.start_ns:
                self._around.emit("unsafe_options", {**row, "last_seen": min(until_ns, self._around.end_ns)})
        self._in_use.clear()
