"""The first secret store: files and environment variables, named by references of the configuration."""

import os
import stat
from pathlib import Path

from gateway.errors import UnavailableError
from gateway.secrets.store import Secret

MAX_BYTES = 65_536
"""Largest secret read from a file (bytes)."""


class ReferenceStore:
    """Resolves `file:/path` and `env:NAME` (`gateway.secrets.store.SecretStore`).

    A file is read again when it changed, so that a rotation needs no restart.
    """

    def __init__(self) -> None:
        self._files: dict[str, tuple[tuple[int, int, int], Secret]] = {}

    async def resolve(self, reference: str) -> Secret:
        """Return the secret's current value.

        Raises:
            UnavailableError: missing, empty, too large, or readable by others.
        """
        return self.read(reference)

    def read(self, reference: str) -> Secret:
        """Return the secret's current value; for the parts that have no event loop. Raises as `resolve`."""
        kind, _, place = reference.partition(":")
        if kind == "env":
            value = os.environ.get(place, "")
            if not value:
                raise _missing(reference, f"the environment variable {place} is not set")
            return Secret(value.encode())
        if kind != "file":
            raise _missing(reference, "a reference begins with file: or env:")
        try:
            status = os.stat(place)  # noqa: PTH116 - on the path of a call; pathlib costs more than the system call
        except OSError as error:
            raise _missing(reference, f"{place} cannot be read: {error.strerror}") from error
        version = (status.st_ino, status.st_mtime_ns, status.st_size)
        known = self._files.get(place)
        if known is not None and known[0] == version:
            return known[1]
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise _missing(reference, f"{place} can be read by others; run: chmod 600 {place}")
        if status.st_size > MAX_BYTES:
            raise _missing(reference, f"{place} is larger than {MAX_BYTES} bytes")
        try:
            value_bytes = Path(place).read_bytes().rstrip(b"\r\n")
        except OSError as error:
            raise _missing(reference, f"{place} cannot be read: {error.strerror}") from error
        if not value_bytes:
            raise _missing(reference, f"{place} is empty")
        secret = Secret(value_bytes)
        self._files[place] = (version, secret)
        return secret


def _missing(reference: str, cause: str) -> UnavailableError:
    return UnavailableError(
        f"The secret {reference} cannot be used: {cause}.",
        remedy="The operator has to provide it.",
        code="secret_missing",
    )
