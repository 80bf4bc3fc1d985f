"""Secrets in one file that is encrypted and authenticated as a whole: nothing of it is read before all of it is proven.

The file is two lines, a magic and a header, and then AES-256-GCM over a JSON document with both lines authenticated
beside it (`identity.sealing`). Its key is given, or made of a passphrase by scrypt (RFC 7914). Each writing counts a
generation up. The highest one that was seen is kept apart, under a MAC of the same key, so that an older copy of the
file is refused; whoever can put back both files can put back both.
"""

import fcntl
import hmac
import json
import os
import re
import stat
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from gateway.errors import ConfigError
from gateway.secrets.store import Secret
from identity.errors import IdentityError
from identity.sealing import decode_seal_key, seal, unseal, write_private

MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_VALUE_BYTES = 65_536
"""Largest value (bytes)."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

MIN_PASSPHRASE_BYTES = 12

_MAGIC = b"govgateway sealed secrets 1\n"
_COST = {"n": 2**16, "r": 8, "p": 1}
_MOST = 2**20
"""Highest cost of scrypt that a header may ask for: a header is read before it is proven."""


class SealedFileError(ConfigError):
    """The sealed file cannot be used, or not changed as asked; says why and what to do."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A secret of the file.

    Attributes:
        version: counts its values, from 1.
        changed_at: when this value was put in, UNIX seconds.
    """

    name: str
    version: int
    changed_at: int
    value: Secret


@dataclass(frozen=True, slots=True)
class _Content:
    generation: int
    secrets: Mapping[str, Stored]


Told = Callable[[Stored], None]


def _nobody(_: Stored) -> None:
    return


class SealedFile:
    """The sealed file of one configuration.

    Args:
        path: the file.
        key: returns what it is opened with: base64 of 32 bytes, or a passphrase.
        passphrase: whether that is a passphrase.
        mark: where the highest generation is kept that was seen.
    """

    def __init__(self, path: Path, key: Callable[[], Secret], *, passphrase: bool, mark: Path) -> None:
        self.path = path
        self._key = key
        self._passphrase = passphrase
        self._mark = mark
        self._seen: tuple[tuple[int, ...], _Content] | None = None
        self._derived: tuple[bytes, bytes] | None = None

    def get(self, name: str) -> Stored:
        """Return a secret as the file has it now.

        Raises:
            SealedFileError: the file cannot be used, or has no such secret.
        """
        found = self._read().secrets.get(name)
        if found is None:
            raise SealedFileError(f"{self.path} has no secret {name}; put it in with: govctl secret set {name}")
        return found

    def all(self) -> list[Stored]:
        """Return every secret, by name. Raises as `get`."""
        return [each for _, each in sorted(self._read().secrets.items())]

    def add(self, name: str, value: bytes, now: int, before_writing: Told = _nobody) -> Stored:
        """Put in a secret that is not there.

        Args:
            name: its name.
            value: its value.
            now: UNIX seconds.
            before_writing: told of it before the file is written; what it raises keeps the file as it is.

        Raises:
            SealedFileError: it is there, name or value are none, or the file cannot be used.
        """
        _check(name, value)
        with self._changing() as secrets:
            if name in secrets:
                raise SealedFileError(f"{name} is there already; give it a new value with: govctl secret rotate {name}")
            secrets[name] = Stored(name, 1, now, Secret(value))
            before_writing(secrets[name])
        return secrets[name]

    def rotate(self, name: str, value: bytes, now: int, before_writing: Told = _nobody) -> Stored:
        """Give a secret a new value. Raises as `add`, and where there is no such secret or its value is the same."""
        _check(name, value)
        with self._changing() as secrets:
            before = secrets.get(name)
            if before is None:
                raise SealedFileError(f"{self.path} has no secret {name}; put it in with: govctl secret set {name}")
            if before.value.matches(value):
                raise SealedFileError(f"{name} has this value already; a rotation needs another one")
            secrets[name] = Stored(name, before.version + 1, now, Secret(value))
            before_writing(secrets[name])
        return secrets[name]

    def remove(self, name: str, before_writing: Told = _nobody) -> Stored:
        """Take a secret out; return what it was. Raises as `get`."""
        with self._changing() as secrets:
            if name not in secrets:
                raise SealedFileError(f"{self.path} has no secret {name}")
            removed = secrets.pop(name)
            before_writing(removed)
        return removed

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Stored]]:
        """Give out the secrets to be changed, alone among all processes, and write them if nothing is raised."""
        try:
            lock = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SealedFileError(f"{self.path.parent} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # A file that was lost goes on above what was seen: losing it is no way around the mark.
            before = self._read() if self.path.exists() else _Content(self._highest(), {})
            secrets = dict(before.secrets)
            yield secrets
            self._write(_Content(before.generation + 1, secrets))
        finally:
            os.close(lock)

    def _read(self) -> _Content:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                status = os.fstat(descriptor)
                version = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
                if self._seen is not None and self._seen[0] == version:
                    return self._seen[1]
                if not stat.S_ISREG(status.st_mode):
                    raise SealedFileError(f"{self.path} is not a regular file")
                if stat.S_IMODE(status.st_mode) & 0o077:
                    raise SealedFileError(
                        f"{self.path} is accessible to others than its owner; run: chmod 600 {self.path}, and rotate "
                        "what is in it if others could have read its key too"
                    )
                content = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            raise SealedFileError(f"{self.path} is not there; begin it with: govctl secret set NAME") from None
        except OSError as error:
            raise SealedFileError(f"{self.path} cannot be read: {error.strerror}") from error
        opened = self._open(content)
        self._seen = (version, opened)
        return opened

    def _open(self, content: bytes) -> _Content:
        damaged = SealedFileError(
            f"{self.path} does not open: the key is another one, or the file was changed or cut. Give the key that it "
            "was sealed with, or restore the file from its newest backup"
        )
        if len(content) > MAX_FILE_BYTES or not content.startswith(_MAGIC) or content.count(b"\n") < 2:
            raise damaged
        end = content.index(b"\n", len(_MAGIC)) + 1
        header = content[len(_MAGIC) : end]
        try:
            parsed = json.loads(header)
            generation = int(parsed["generation"])
            key = self._opened_with(header, parsed)
            document = json.loads(unseal(key, _purpose(header), content[end:]))
            secrets = {
                name: Stored(name, int(each["version"]), int(each["changed_at"]), Secret(b64decode(each["value"])))
                for name, each in document["secrets"].items()
            }
        except (IdentityError, ValueError, KeyError, TypeError, AttributeError, InvalidKey) as error:
            raise damaged from error
        self._compare(generation)
        return _Content(generation, secrets)

    def _write(self, content: _Content) -> None:
        header = {"generation": content.generation, "kdf": {"name": "none"}}
        if self._passphrase:
            header["kdf"] = {"name": "scrypt", **_COST, "salt": b64encode(os.urandom(16)).decode()}
        line = json.dumps(header, sort_keys=True).encode() + b"\n"
        key = self._opened_with(line, header)
        document = {
            "secrets": {
                name: {
                    "version": each.version,
                    "changed_at": each.changed_at,
                    "value": b64encode(each.value.reveal()).decode(),
                }
                for name, each in content.secrets.items()
            }
        }
        sealed = seal(key, _purpose(line), json.dumps(document, sort_keys=True).encode())
        if len(sealed) > MAX_FILE_BYTES - 1024:
            raise SealedFileError(f"{self.path} would be larger than {MAX_FILE_BYTES} bytes; remove what is not used")
        try:
            write_private(self.path, _MAGIC + line + sealed)
        except IdentityError as error:
            raise SealedFileError(str(error)) from error
        self._compare(content.generation)

    def _opened_with(self, header: bytes, parsed: Mapping[str, Any] | None = None) -> bytes:
        """Return the key: as it is given, or made of the passphrase as a header says."""
        given = self._key().reveal()
        if not self._passphrase:
            if parsed is not None and parsed["kdf"]["name"] == "scrypt":
                raise SealedFileError(f"{self.path} was sealed with a passphrase; set secrets.sealed_file.passphrase")
            return decode_seal_key(given)
        if len(given) < MIN_PASSPHRASE_BYTES:
            raise SealedFileError(f"the passphrase of {self.path} is shorter than {MIN_PASSPHRASE_BYTES} bytes")
        kdf = (parsed or {})["kdf"]
        if kdf["name"] == "none":
            raise SealedFileError(f"{self.path} was sealed with a key; set secrets.sealed_file.key")
        asked = hmac.digest(given, header, "sha256")
        if self._derived is None or self._derived[0] != asked:
            n, r, p = (int(kdf[name]) for name in ("n", "r", "p"))
            if not (1 < n <= _MOST and r == _COST["r"] and p == _COST["p"]):
                raise ValueError("the header asks for another cost")
            self._derived = asked, Scrypt(b64decode(kdf["salt"]), 32, n, r, p).derive(given)
        return self._derived[1]

    def _compare(self, generation: int) -> None:
        """Refuse an older copy than was seen before, and remember a newer one."""
        highest = self._highest()
        if generation < highest:
            raise SealedFileError(
                f"{self.path} is an older copy: it is generation {generation}, and {highest} was here already. Restore "
                f"the newest one; if that is lost, delete {self._mark} and rotate every secret"
            )
        if generation > highest:
            try:
                write_private(self._mark, json.dumps({"generation": generation, "mac": self._mac(generation)}).encode())
            except IdentityError as error:
                raise SealedFileError(f"it cannot be remembered that {self.path} changed: {error}") from error

    def _highest(self) -> int:
        """Return the highest generation that was seen; 0 for none."""
        if not self._mark.exists():
            return 0
        try:
            document = json.loads(self._mark.read_bytes())
            generation = int(document["generation"])
            if hmac.compare_digest(str(document["mac"]), self._mac(generation)):
                return generation
        except (OSError, ValueError, KeyError, TypeError):
            pass
        raise SealedFileError(
            f"{self._mark} is damaged, or of another key. If you changed the key of {self.path} yourself, delete it"
        )

    def _mac(self, generation: int) -> str:
        given = self._key().reveal().strip()
        return hmac.new(given, f"govgateway sealed generation {generation}".encode(), "sha256").hexdigest()


def _purpose(header: bytes) -> str:
    return (_MAGIC + header).decode()


def _check(name: str, value: bytes) -> None:
    if not NAME.fullmatch(name):
        raise SealedFileError(f"{name!r} is no name: letters, digits, and . _ - between them, at most 128")
    if not value:
        raise SealedFileError("the value is empty")
    if len(value) > MAX_VALUE_BYTES:
        raise SealedFileError(f"the value has more than {MAX_VALUE_BYTES} bytes")
