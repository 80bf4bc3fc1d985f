"""A log that grows, and an object store in memory that can be told to fail or to lie."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.anchors.errors import AnchorError
from audit.anchors.object_store import Retention, StoredObject
from audit.tlog.checkpoint import Checkpoint
from audit.tlog.merkle import leaf_hash
from audit.tlog.note import Ed25519Signer, parse_verifier_key, sign_note
from audit.tlog.tiles import DirectoryTiles, TileTree

ORIGIN = "example.org/audit"


class GrowingLog:
    """A log: its tiles, its tree, its key."""

    def __init__(self, directory: Path, key: Ed25519PrivateKey | None = None, salt: bytes = b"") -> None:
        self.storage = DirectoryTiles(directory)
        self.tree = TileTree(self.storage, 0)
        self.key = key or Ed25519PrivateKey.generate()
        self.signer = Ed25519Signer(ORIGIN, self.key)
        self.keys = [parse_verifier_key(self.signer.verifier_key)]
        self.salt = salt

    def grow(self, count: int) -> bytes:
        """Add leaves and return the signed checkpoint."""
        first = self.tree.size
        self.tree.append([leaf_hash(self.salt + b"%d" % number) for number in range(first, first + count)])
        return sign_note(Checkpoint(ORIGIN, self.tree.size, self.tree.root()).to_text(), [self.signer])


@dataclass
class MemoryObjects:
    """An object store.

    Attributes:
        fails_after: number of objects it takes before it fails.
        locks: whether it locks what it is asked to.
    """

    name: str = "the store of the test"
    stored: list[tuple[StoredObject, bytes, int | None]] = field(default_factory=list)
    fails_after: int = 1_000_000
    locks: bool = True

    def put(self, key: str, data: bytes, retain_until: int | None) -> str:
        if len(self.stored) >= self.fails_after:
            raise AnchorError(f"{self.name} takes {key} not")
        version = f"v{len(self.stored)}"
        kept = StoredObject(key, version, 1_700_000_000 + len(self.stored), len(data))
        self.stored.append((kept, data, retain_until if self.locks else None))
        return version

    def get(self, key: str, version: str) -> bytes:
        return next(data for kept, data, _ in self.stored if (kept.key, kept.version) == (key, version))

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        found = [kept for kept, _, _ in self.stored if kept.key.startswith(prefix) and kept.key > after]
        yield from sorted(found, key=lambda kept: kept.key)

    def retention(self, key: str, version: str) -> Retention | None:
        until = next(until for kept, _, until in self.stored if (kept.key, kept.version) == (key, version))
        return None if until is None else Retention("COMPLIANCE", until)

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(kept.key for kept, _, _ in self.stored)
