"""A whole log in a directory: chains, tree and key, to be written, changed and verified."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.chain import Head, Linked, link
from audit.event_id import uuid7
from audit.receipts import CHECKPOINT
from audit.store import SqliteStore
from audit.tlog.note import Ed25519Signer, NoteVerifier, parse_verifier_key
from audit.tlog.tiles import DirectoryTiles
from audit.tree.sequencer import Sequencer
from audit.tree.state import TreeState

ORIGIN = "example.org/audit"
START_NS = 1_800_000_000_000_000_000
STEP_NS = 1_000_000_000

Event = tuple[str, dict[str, Any]]


class LogWorld:
    """A log.

    Attributes:
        directory: where it is.
        store: its chains.
        signer: its key.
        now: time of the next record (UNIX, nanoseconds).
    """

    def __init__(self, directory: Path, key: Ed25519PrivateKey | None = None, origin: str = ORIGIN) -> None:
        self.directory = directory
        self.tree = directory / "tree"
        self.store = SqliteStore(directory, origin)
        self.signer = Ed25519Signer(origin, key or Ed25519PrivateKey.generate())
        self.now = START_NS
        self._state = TreeState(self.tree)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._state.close()

    @property
    def key(self) -> NoteVerifier:
        """The log's public key."""
        return parse_verifier_key(self.signer.verifier_key)

    def write(self, chain: str, *events: Event) -> list[Linked]:
        """Append records in one commit, a second apart."""
        return self._append(chain, [lambda _, event=event: event for event in events])

    def calls(self, chain: str, count: int, **fields: Any) -> list[Linked]:
        """Append so many calls in one commit, each an intent and its outcome."""
        events: list[Callable[[str], Event]] = []
        for number in range(count):
            events.append(lambda _, number=number: ("access.intent", {**call(number), **fields}))
            events.append(lambda intent, number=number: ("access.outcome", outcome(intent, number)))
        return self._append(chain, events)

    def _append(self, chain: str, events: Sequence[Callable[[str], Event]]) -> list[Linked]:
        """Append records; each is told the event id of the one before."""
        writer = self.store.open_writer(chain)
        head: Head = writer.head
        batch: list[Linked] = []
        for event in events:
            self.now += STEP_NS
            record_type, fields = event(batch[-1].event_id if batch else "")
            batch.append(link(head, self.store.log, chain, uuid7(), self.now, record_type, fields))
            head = Head(batch[-1].sequence, batch[-1].hash)
        writer.append(batch)
        writer.close()
        return batch

    def sequence(self) -> bytes:
        """Take everything into the tree and publish the checkpoint; return it."""
        tiles = DirectoryTiles(self.tree)
        sequencer = Sequencer(self.store, self._state, tiles, [self.signer])
        while (step := sequencer.step()) is not None and step.more:
            pass
        note = sequencer.sign()[1]
        tiles.write(CHECKPOINT, note)
        return note

    def change(self, chain: str, query: str, *parameters: object) -> None:
        """Change a chain from outside."""
        with closing(sqlite3.connect(self.directory / f"{chain}.sqlite")) as connection, connection:
            connection.execute(query, parameters)


def call(number: int) -> dict[str, Any]:
    """Return some fields of an intent."""
    return {
        "principal": f"spiffe://example.org/agent/a{number % 3}",
        "delegation": [],
        "action": "model.invoke",
        "resource": {"type": "model", "id": "example-chat"},
        "system": "claims-triage",
        "decision": "allow",
        "reasons": ["team-may-use-model"],
        "trace_id": f"{number:032x}",
    }


def outcome(intent: str, number: int) -> dict[str, Any]:
    """Return some fields of an outcome."""
    return {
        "intent": intent,
        "principal": f"spiffe://example.org/agent/a{number % 3}",
        "delegation": [],
        "action": "model.invoke",
        "resource": {"type": "model", "id": "example-chat"},
        "system": "claims-triage",
        "result": "completed",
        "cause": "",
        "usage": {"input_tokens": 3, "output_tokens": 4},
        "trace_id": f"{number:032x}",
    }
