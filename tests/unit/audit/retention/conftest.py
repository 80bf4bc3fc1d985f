from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.chain import Head, link
from audit.event_id import uuid7
from audit.retention import Journal, Keeper, Planner, RetentionRules, Segment
from audit.store import SqliteStore
from audit.tlog.checkpoint import Checkpoint, parse_checkpoint
from audit.tlog.note import Ed25519Signer, open_note, parse_verifier_key, sign_note

LOG = "example.org/audit"
DAY_NS = 86_400_000_000_000
START_NS = 1_800_000_000 * 1_000_000_000


class KilledError(Exception):
    """Stands for the end of the process."""


@dataclass
class World:
    """A log of two chains in SQLite, its checkpoints, and all that retention needs."""

    directory: Path
    rules: RetentionRules = field(default_factory=RetentionRules)
    now_ns: int = START_NS
    cursors: dict[str, Mapping[str, int]] = field(default_factory=dict)
    records: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    heads: dict[str, Head] = field(default_factory=dict)
    removed: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = SqliteStore(self.directory, LOG)
        self.signer = Ed25519Signer(LOG, Ed25519PrivateKey.generate())
        self.journal = Journal(self.directory / "retention", LOG, self.clock)
        self.rows: Any = self.store

    def clock(self) -> int:
        return self.now_ns

    def write(self, chain: str = "worker-0", count: int = 3, **fields: Any) -> list[str]:
        """Append records, a second apart, and return their event ids."""
        writer = self.store.open_writer(chain)
        ids = []
        for _ in range(count):
            self.now_ns += 1_000_000_000
            record_type = fields.get("type", "access.intent")
            rest = {name: value for name, value in fields.items() if name != "type"}
            linked = link(
                writer.head, LOG, chain, uuid7(), self.now_ns, record_type, {"principal": "p", "system": "s", **rest}
            )
            writer.append([linked])
            ids.append(linked.event_id)
        self.heads[chain] = writer.head
        writer.close()
        return ids

    def note(self, **changes: Any) -> bytes:
        """Return a signed checkpoint of all that was written."""
        lines = tuple(f"chain {c} {head.sequence + 1} {head.hash}" for c, head in sorted(self.heads.items()))
        size = sum(head.sequence + 1 for head in self.heads.values())
        given = {"origin": LOG, "size": size, "root": bytes(32), "extensions": lines, **changes}
        return sign_note(Checkpoint(**given).to_text(), [self.signer])

    def open_note(self, note: bytes) -> Checkpoint:
        return parse_checkpoint(open_note(note, [parse_verifier_key(self.signer.verifier_key)]).text)

    def record(self, record_type: str, fields: dict[str, Any]) -> None:
        self.records.append((record_type, fields))

    def marks(self) -> list[tuple[int, str]]:
        return [(fields["journal"]["entries"], fields["journal"]["head"]) for _, fields in self.records]

    def planner(self) -> Planner:
        return Planner(self.store, self.rules, self.open_note, lambda: self.cursors, self.clock)

    def keeper(self, record: Callable[[str, dict[str, Any]], object] | None = None) -> Keeper:
        copies = [lambda segment: self.removed.append(segment.number)]
        return Keeper(self.journal, self.planner(), self.rows, record or self.record, self.marks, copies)

    def seal(self) -> Segment:
        return self.keeper().seal(self.note(), "operator:anna")

    def kept(self, chain: str = "worker-0") -> list[int]:
        with self.store.reader(chain) as reader:
            return [record.sequence for record in reader.records()]

    def told(self, record_type: str) -> list[dict[str, Any]]:
        return [fields for each, fields in self.records if each == record_type]

    def later(self, days: float) -> None:
        self.now_ns += int(days * DAY_NS)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "audit")
