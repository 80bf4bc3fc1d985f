"""Keys of the trust domain and of the log, and how long each was in use."""

from compliance.populations.base import Entry, Value
from compliance.populations.collectors.base import DAY_NS, Surroundings, base_of

TYPES = ("authority.prepared", "authority.activated", "authority.tainted", "authority.revoked", "authority.expired",
         "authority.failed", "log.checkpoint_key_created", "log.checkpoint_key_rotated")  # fmt: skip

_IN_USE = frozenset({"activated", "created", "rotated"})


class Keys:
    """Follows which key of each kind is in use."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._since: dict[str, int] = {}

    def take(self, entry: Entry) -> None:
        """Take a record."""
        document = entry.document
        if "unwritable" in document:
            return
        checkpoint = entry.type.startswith("log.")
        kind = "checkpoint" if checkpoint else str(document.get("kind", ""))
        event = entry.type.rpartition(".")[2].removeprefix("checkpoint_key_")
        age: int | None = None
        if event in _IN_USE:
            since = self._since.get(kind)
            age = None if since is None else max(0, entry.time_ns - since) // DAY_NS
            self._since[kind] = entry.time_ns
        if self._around.period.contains(entry.time_ns):
            row: dict[str, Value] = {
                "kind": kind,
                "event": event,
                "key": str(document.get("verifier_key" if checkpoint else "authority", "")),
                "cause": str(document.get("cause", "") or document.get("detail", "")),
                "key_age_days": age,
            }
            self._around.emit("key_events", {**base_of(entry), **row})

    def finish(self) -> None:
        """Nothing is left."""
