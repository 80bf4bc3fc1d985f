"""The secret store of one machine: files, environment variables, and the sealed file, by reference."""

import os
import stat

from gateway.errors import UnavailableError
from gateway.secrets.sealed_file import SealedFile, SealedFileError
from gateway.secrets.store import Resolved, Secret

MAX_BYTES = 65_536
"""Largest secret read from a file (bytes)."""

SEALED = "sealed://"
"""Begins the reference of a secret in the sealed file."""

_Version = tuple[int, int, int, int, int]


class ReferenceStore:
    """Resolves `file:/path`, `env:NAME` and `sealed://NAME` (`gateway.secrets.store.SecretStore`).

    A file is read again when it changed, so that a rotation needs no restart.

    Args:
        sealed: the sealed file; None where there is none.
    """

    def __init__(self, sealed: SealedFile | None = None) -> None:
        self._sealed = sealed
        self._files: dict[str, tuple[_Version, Secret]] = {}

    async def resolve(self, reference: str, principal: str = "") -> Resolved:  # noqa: ARG002 - these are everybody's
        """Return what a reference names now.

        Raises:
            UnavailableError: missing, empty, too large, not a regular file, or accessible to others than its owner.
        """
        return Resolved(reference, self.read(reference))

    async def refused(self, used: Resolved, principal: str = "") -> Resolved | None:
        """See `SecretStore.refused`."""
        now = await self.resolve(used.reference, principal)
        same = now.value is not None and used.value is not None and now.value.same_as(used.value)
        return None if same else now

    def read(self, reference: str) -> Secret:
        """Return the secret's current value; for the parts that have no event loop. Raises as `resolve`."""
        kind, _, place = reference.partition(":")
        if kind == "env":
            value = os.environb.get(os.fsencode(place), b"")
            if not value:
                raise unusable_reference(reference, f"the environment variable {place} is not set or is empty")
            return Secret(value)
        if kind == "sealed":
            return self._of_sealed_file(reference)
        if kind != "file":
            raise unusable_reference(reference, "only file:, env: and sealed:// can be read here")
        try:
            status = os.stat(place)  # noqa: PTH116 - on the path of a call; pathlib costs more than the system call
            known = self._files.get(place)
            if known is not None and known[0] == _version(status):
                return known[1]
            version, content = _load(reference, place)
        except OSError as error:
            raise unusable_reference(reference, f"{place} cannot be read: {error.strerror}") from error
        secret = Secret(content)
        self._files[place] = (version, secret)
        return secret

    def state(self, reference: str) -> dict[str, int]:
        """Return since when a secret has its value (`since`, UNIX seconds) and its `version`, where its store knows."""
        if self._sealed is not None and reference.startswith(SEALED):
            try:
                stored = self._sealed.get(reference.removeprefix(SEALED))
            except SealedFileError:
                return {}
            return {"since": stored.changed_at, "version": stored.version}
        return {}

    def _of_sealed_file(self, reference: str) -> Secret:
        if self._sealed is None:
            raise unusable_reference(reference, "secrets.sealed_file.path is not set")
        try:
            return self._sealed.get(reference.removeprefix(SEALED)).value
        except SealedFileError as error:
            raise unusable_reference(reference, str(error)) from error


def _load(reference: str, place: str) -> tuple[_Version, bytes]:
    """Read a file; what is checked is what was opened, whatever the path names by then."""
    # Without O_NONBLOCK a named pipe would hold the event loop until somebody writes to it.
    descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise unusable_reference(reference, f"{place} is not a regular file")
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise unusable_reference(
                reference, f"{place} is accessible to others than its owner; run: chmod 600 {place}"
            )
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise unusable_reference(reference, f"{place} is larger than {MAX_BYTES} bytes")
    content = content.rstrip(b"\r\n")
    if not content:
        raise unusable_reference(reference, f"{place} is empty")
    return _version(status), content


def _version(status: os.stat_result) -> _Version:
    # The change time tells a new mode or owner, and a content of the same size put in with the old time.
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size


def unusable_reference(reference: str, cause: str, code: str = "secret_missing") -> UnavailableError:
    """Return the error for a reference that gives nothing; for the log and the operator, not for a caller."""
    return UnavailableError(
        f"The secret {reference} cannot be used: {cause}.",
        remedy="The operator has to provide it.",
        code=code,
    )
