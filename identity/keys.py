"""Key managers: where an authority's private keys are made and kept, behind one Protocol.

A manager may hand out a key that signs elsewhere (a hardware module, Vault Transit): callers use nothing but
`public_key` and `sign` of the abstract key types of `cryptography`.
"""

import re
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key

from identity.errors import KeyManagerError, SealError
from identity.sealing import read_sealed, sync_directory, write_sealed

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
"""A key of an authority."""

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
"""The public part of a key of an authority."""

KEY_TYPES = ("ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096")
"""The types of key a manager makes."""

_SUFFIX = ".key.sealed"
_KEY_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?", re.ASCII)


class KeyManager(Protocol):
    """Makes, keeps and forgets private keys. A key's id is 1 to 64 of a-z, 0-9 and inner dashes."""

    def generate(self, key_id: str, key_type: str) -> PrivateKey:
        """Make a key of one of `KEY_TYPES` and keep it durably before returning.

        Raises:
            KeyManagerError: the id is taken or none, or the type is unknown.
            SealError: it cannot be kept.
        """
        ...

    def private_key(self, key_id: str) -> PrivateKey:
        """Return a key.

        Raises:
            KeyManagerError: there is no such key, or it is of no type an authority has.
            SealError: it is there and cannot be opened.
        """
        ...

    def delete(self, key_id: str) -> None:
        """Forget a key for good; one that is not there is no error.

        Raises:
            KeyManagerError: it cannot be removed.
        """
        ...

    def ids(self) -> frozenset[str]:
        """Return the ids of the keys at hand."""
        ...


class MemoryKeyManager:
    """Keeps keys in memory; they end with the process."""

    def __init__(self) -> None:
        self._keys: dict[str, PrivateKey] = {}

    def generate(self, key_id: str, key_type: str) -> PrivateKey:
        """See `KeyManager.generate`."""
        check_new_id(key_id, self.ids())
        self._keys[key_id] = key = new_private_key(key_type)
        return key

    def private_key(self, key_id: str) -> PrivateKey:
        """See `KeyManager.private_key`."""
        try:
            return self._keys[key_id]
        except KeyError:
            raise KeyManagerError(f"there is no key {key_id!r} in memory") from None

    def delete(self, key_id: str) -> None:
        """See `KeyManager.delete`."""
        self._keys.pop(key_id, None)

    def ids(self) -> frozenset[str]:
        """See `KeyManager.ids`."""
        return frozenset(self._keys)


class SealedKeyManager:
    """Keeps each key in a sealed file `<id>.key.sealed` of one directory, readable by its owner alone."""

    def __init__(self, directory: Path, seal_key: bytes) -> None:
        self._directory = directory
        self._seal_key = seal_key

    def generate(self, key_id: str, key_type: str) -> PrivateKey:
        """See `KeyManager.generate`."""
        check_new_id(key_id, self.ids())
        key = new_private_key(key_type)
        der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SealError(f"{self._directory} cannot be made: {error.strerror}") from error
        write_sealed(self._path(key_id), self._seal_key, der)
        return key

    def private_key(self, key_id: str) -> PrivateKey:
        """See `KeyManager.private_key`."""
        path = self._path(key_id)
        if not path.exists():
            raise KeyManagerError(f"the key {path} is not there; bring it back, or restore it from a backup")
        try:
            key = load_der_private_key(read_sealed(path, self._seal_key), None)
        except ValueError as error:
            raise KeyManagerError(f"{path} holds no private key: {error}; restore it from a backup") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise KeyManagerError(f"{path} is neither an ECDSA nor an RSA key; restore it from a backup")
        return key

    def delete(self, key_id: str) -> None:
        """See `KeyManager.delete`."""
        path = self._path(key_id)
        try:
            path.unlink(missing_ok=True)
            if self._directory.exists():
                sync_directory(self._directory)
        except OSError as error:
            raise KeyManagerError(f"the key {path} cannot be removed: {error.strerror}; remove it by hand") from error

    def ids(self) -> frozenset[str]:
        """See `KeyManager.ids`."""
        names = (path.name.removesuffix(_SUFFIX) for path in self._directory.glob(f"*{_SUFFIX}"))
        return frozenset(name for name in names if _KEY_ID.fullmatch(name))

    def _path(self, key_id: str) -> Path:
        return self._directory / (checked_id(key_id) + _SUFFIX)


def new_private_key(key_type: str) -> PrivateKey:
    """Make a private key of one of `KEY_TYPES`.

    Raises:
        KeyManagerError: the type is unknown.
    """
    if key_type not in KEY_TYPES:
        raise KeyManagerError(f"{key_type!r} is no type of key; use one of: {', '.join(KEY_TYPES)}")
    family, _, size = key_type.partition("-")
    if family == "ec":
        return ec.generate_private_key(ec.SECP256R1() if size == "p256" else ec.SECP384R1())
    return rsa.generate_private_key(65537, int(size))


def check_new_id(key_id: str, taken: frozenset[str]) -> None:
    """Refuse an id that is none, or taken. Raises KeyManagerError."""
    if checked_id(key_id) in taken:
        raise KeyManagerError(f"there is a key {key_id!r} already; a key is never overwritten")


def checked_id(key_id: str) -> str:
    """Return an id of a key. Raises KeyManagerError where it is none."""
    if not _KEY_ID.fullmatch(key_id):
        raise KeyManagerError(f"{key_id!r} is no id of a key: use 1 to 64 of a-z, 0-9 and inner dashes")
    return key_id
