"""The revisions that this gateway has run: bundles by digest, which one is active, and how that came about.

Every process reads the policies from here, by digest: what the control process checked is what the workers load.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.authorization.manifest import Change
from gateway.errors import ConfigError

KEPT = 20
"""Revisions kept for a rollback; history longer ago names revisions that are only in the audit log."""

MAX_HISTORY = 200
"""Activations listed; all of them are in the audit log."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Activation(BaseModel):
    """One activation.

    Attributes:
        digest: SHA-256 of the bundle (hex).
        revision: name of the revision.
        data_digest: SHA-256 of its data document (hex).
        time: UNIX seconds.
        by: who activated it: a SPIFFE ID, `operator:NAME`, `signal`, or `pulled`.
        source: where the bundle came from.
        rollback: whether it goes back to an earlier revision.
        reason: why, for a rollback.
        change: how the revision came about.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    digest: Digest
    revision: str
    data_digest: str
    time: int
    by: str
    source: str
    rollback: bool = False
    reason: str = ""
    change: Change = Change()

    def record(self, before: "Activation | None") -> dict[str, Any]:
        """Return the fields of `policy.activated`, the record of the change (SOC 2 CC8.1).

        Args:
            before: the activation that it replaces.
        """
        replaced = before and {
            "revision": before.revision,
            "data_digest": before.data_digest,
            "bundle_digest": before.digest,
        }
        return {
            "principal": self.by,
            "policy": {"revision": self.revision, "data_digest": self.data_digest},
            "bundle_digest": self.digest,
            "replaced": replaced or {},
            "source": self.source,
            "rollback": self.rollback,
            "reason": self.reason,
            "change": self.change.model_dump(mode="json"),
        }


class History(BaseModel):
    """The activations, the latest last; that one is active."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    activations: tuple[Activation, ...] = ()

    @property
    def active(self) -> Activation | None:
        """The activation in force."""
        return self.activations[-1] if self.activations else None

    @property
    def previous(self) -> Activation | None:
        """The latest activation of another bundle: what a rollback goes back to."""
        active = self.active
        return next((each for each in reversed(self.activations) if active and each.digest != active.digest), None)

    @property
    def withdrawn(self) -> frozenset[str]:
        """Digests of bundles that were rolled back from, and not activated since."""
        found: set[str] = set()
        for place, each in enumerate(self.activations):
            if each.rollback:
                before = [earlier.digest for earlier in self.activations[:place]]
                start = len(before) - before[::-1].index(each.digest) if each.digest in before else place - 1
                found.update(before[max(start, 0) :])
            found.discard(each.digest)
        return frozenset(found)


class PolicyStore:
    """Bundles and their history in one directory. Written by the control process, read by everybody.

    Attributes:
        pinned: digests of bundles that are kept though they are not in the history.
    """

    def __init__(self, directory: Path) -> None:
        self.pinned: frozenset[str] = frozenset()
        self._directory = directory
        self._history = directory / "history.json"

    def history(self) -> History:
        """Return the activations so far.

        Raises:
            ConfigError: the file is not ours any more; the message names it and the remedy.
        """
        try:
            return History.model_validate_json(self._history.read_bytes())
        except FileNotFoundError:
            return History()
        except (OSError, ValidationError) as error:
            raise ConfigError(
                f"{self._history} cannot be read: {error}. Restore it from a backup, or remove it and activate a "
                "revision anew; the audit log has every activation."
            ) from error

    def put(self, content: bytes) -> str:
        """Keep a bundle and return its digest; one that is there and sound is not written again."""
        digest = sha256(content).hexdigest()
        try:
            self.get(digest)
        except ConfigError:
            _write(self._path(digest), content)
        return digest

    def get(self, digest: str) -> bytes:
        """Return a bundle.

        Raises:
            ConfigError: it is not there, or its bytes are not those that were put.
        """
        path = self._path(digest)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"The bundle {path} cannot be read: {error.strerror}. Activate its revision anew."
            ) from None
        if sha256(content).hexdigest() != digest:
            raise ConfigError(
                f"The bundle {path} was changed: its SHA-256 is not its name. Activate its revision anew."
            )
        return content

    def path(self, digest: str) -> Path:
        """Return where a bundle lies."""
        return self._path(digest)

    def record(self, activation: Activation) -> None:
        """Make an activation the latest, durably; bundles of long ago are dropped."""
        kept = (*self.history().activations, activation)[-MAX_HISTORY:]
        _write(self._history, History(activations=kept).model_dump_json(indent=1).encode() + b"\n")
        recent = {*list(dict.fromkeys(each.digest for each in reversed(kept)))[:KEPT], *self.pinned}
        for path in self._path("").parent.glob("*.tar.gz"):
            if path.name.removesuffix(".tar.gz") not in recent:
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store for one activation.

        Raises:
            ConfigError: another process activates at this moment.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._directory / "lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ConfigError("Another activation is under way; nothing was changed. Try again.") from None
            yield

    def _path(self, digest: str) -> Path:
        return self._directory / "bundles" / f"{digest}.tar.gz"


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, and durably."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise ConfigError(f"{path} cannot be written: {error.strerror}. Nothing was activated.") from error
