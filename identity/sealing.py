"""Sealed files: secrets at rest under AES-256-GCM, bound to their purpose, written whole or not at all."""

import os
import secrets
import stat
from base64 import b64decode
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from identity.errors import SealError

_MAGIC = b"GGSEAL1\n"
_NONCE_BYTES = 12
KEY_BYTES = 32


def generate_seal_key() -> bytes:
    """Return a random sealing key (32 bytes)."""
    return secrets.token_bytes(KEY_BYTES)


def decode_seal_key(text: bytes) -> bytes:
    """Decode a sealing key from base64.

    Raises:
        SealError: not base64 of 32 bytes.
    """
    try:
        key = b64decode(text.strip(), validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise SealError("the sealing key is not base64 of 32 bytes; make one with: openssl rand -base64 32")
    return key


def seal(key: bytes, purpose: str, plaintext: bytes) -> bytes:
    """Encrypt `plaintext`; it opens only with the same key and the same purpose.

    Raises:
        SealError: the key has not 32 bytes.
    """
    cipher = _cipher(key)
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return _MAGIC + nonce + cipher.encrypt(nonce, plaintext, _MAGIC + purpose.encode())


def unseal(key: bytes, purpose: str, blob: bytes) -> bytes:
    """Decrypt what `seal` made.

    Raises:
        SealError: not a sealed blob, another key or purpose, or changed.
    """
    if not blob.startswith(_MAGIC) or len(blob) < len(_MAGIC) + _NONCE_BYTES + 16:
        raise SealError("this is not a sealed file, or it was cut short; restore it from a backup")
    cipher = _cipher(key)
    nonce = blob[len(_MAGIC) : len(_MAGIC) + _NONCE_BYTES]
    try:
        return cipher.decrypt(nonce, blob[len(_MAGIC) + _NONCE_BYTES :], _MAGIC + purpose.encode())
    except InvalidTag:
        raise SealError(
            "the sealed file does not open: the sealing key is another one, or the file was changed"
        ) from None


def write_sealed(path: Path, key: bytes, plaintext: bytes) -> None:
    """Seal `plaintext` into `path`; the file's name is its purpose."""
    write_private(path, seal(key, path.name, plaintext))


def read_sealed(path: Path, key: bytes) -> bytes:
    """Open a sealed file.

    Raises:
        SealError: missing, readable by others, another key, or changed; the message names the file.
    """
    blob = read_private(path)
    try:
        return unseal(key, path.name, blob)
    except SealError as error:
        raise SealError(f"{path}: {error}") from error


def read_private(path: Path) -> bytes:
    """Read a file that nobody but its owner may read.

    Raises:
        SealError: missing, or its mode lets group or others in.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise SealError(f"{path} can be read by others (mode {mode:04o}); run: chmod 600 {path}")
            return file.read()
    except OSError as error:
        raise SealError(f"{path} cannot be read: {error.strerror}") from error


def write_private(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file whole or not at all, and make sure that it is on disk.

    Raises:
        SealError: it cannot be written; what was there before is still there.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), mode)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)
    except OSError as error:
        raise SealError(f"{path} cannot be written: {error.strerror}") from error


def sync_directory(path: Path) -> None:
    """Make sure that the names in a directory are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cipher(key: bytes) -> AESGCM:
    if len(key) != KEY_BYTES:
        raise SealError(f"a sealing key has {KEY_BYTES} bytes, this one has {len(key)}; make one with: govctl init")
    return AESGCM(key)
