"""The files of an authority: one document that is the truth, the bundle derived from it, and a lock between processes.

The document is written whole or not at all, and is on disk before anything goes by it: writing it is the one moment at
which a change happens. Keys that it names are there before it, keys that it names no more are removed after it. A
process that is killed at any point leaves the state before or after the change, and at most a key without an owner
or a bundle of the state before, both mended by the next who opens it.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from identity.authority.state import AuthorityState, read_document, write_document
from identity.errors import AuthorityError
from identity.sealing import write_private

_DOCUMENT = "authorities.json"
_BUNDLE = "bundle.jwks"

Stamp = tuple[int, int, int]
"""Tells one version of the document from another."""


def authority_dir(state_dir: Path) -> Path:
    """Return the directory of the authority's files."""
    return state_dir / "authority"


def bundle_path(state_dir: Path) -> Path:
    """Return the file of the trust domain's own bundle (JWKS)."""
    return authority_dir(state_dir) / _BUNDLE


class StateStore:
    """Reads and writes the document and the bundle in one directory."""

    def __init__(self, directory: Path, refresh_hint: int) -> None:
        self.directory = directory
        self._document = directory / _DOCUMENT
        self._bundle = directory / _BUNDLE
        self._refresh_hint = refresh_hint

    def exists(self) -> bool:
        """Whether there is an authority, or what is left of one."""
        return self._document.exists() or self._bundle.exists()

    def stamp(self) -> Stamp | None:
        """Return what changes with each version of the document; None if it cannot be looked at."""
        try:
            found = self._document.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes and threads from reading and changing the authority.

        Raises:
            AuthorityError: there is none.
        """
        try:
            descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise AuthorityError(f"{self.directory} has no authority; make one with: govctl init") from None
        except OSError as error:
            raise AuthorityError(f"{self.directory} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def read(self) -> AuthorityState:
        """Read the document.

        Raises:
            AuthorityError: it is missing or malformed.
        """
        try:
            return read_document(self._document.read_bytes())
        except FileNotFoundError:
            raise AuthorityError(
                f"{self._document} is missing; restore it from a backup, or make a new trust domain in another "
                "directory with: govctl init"
            ) from None
        except OSError as error:
            raise AuthorityError(f"{self._document} cannot be read: {error.strerror}") from error
        except AuthorityError as error:
            raise AuthorityError(f"{self._document}: {error}") from error

    def write(self, state: AuthorityState) -> None:
        """Make `state` the truth, then write the bundle of it.

        Raises:
            SealError: a file cannot be written.
        """
        write_private(self._document, write_document(state), mode=0o644)
        self.publish(state)

    def publish(self, state: AuthorityState) -> None:
        """Write the bundle if the file is another one.

        Raises:
            SealError: it cannot be written.
        """
        document = state.bundle(self._refresh_hint).to_jwks()
        with suppress(OSError):
            if self._bundle.read_bytes() == document:
                return
        write_private(self._bundle, document, mode=0o644)

    def remove_unfinished(self) -> None:
        """Remove what a process left that was killed while it wrote. Call while locked."""
        for path in self.directory.glob(".*.????????"):
            with suppress(OSError):
                path.unlink()
