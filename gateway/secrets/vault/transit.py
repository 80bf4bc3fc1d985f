"""Private keys that Vault's Transit engine keeps: they sign there, and cannot be had.

Each is a private key to `cryptography` in all but its private bytes, so that certificates, tokens, checkpoints and
packages are signed with it as with any other.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Protocol, cast

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from gateway.secrets.fetched import SecretSourceError
from identity.errors import KeyManagerError
from identity.keys import KEY_TYPES, PrivateKey, check_new_id, checked_id

_TYPES = {name: name.replace("ec-", "ecdsa-") for name in KEY_TYPES}
_HASHES = {"sha256": "sha2-256", "sha384": "sha2-384", "sha512": "sha2-512"}
_SIGNATURE = re.compile(r"vault:v[0-9]+:([A-Za-z0-9+/=]+)")

Sign = Callable[[bytes, Mapping[str, Any]], bytes]
"""Signs an input with further parameters of the engine."""


class Engine(Protocol):
    """What is asked of Vault; `gateway.secrets.vault.client.VaultClient` does it. Each raises SecretSourceError."""

    def write(self, path: str, data: Mapping[str, Any]) -> Mapping[str, Any]: ...
    def get(self, path: str) -> Mapping[str, Any]: ...
    def delete(self, path: str) -> None: ...
    def keys(self, path: str) -> list[str]: ...


class TransitKeys:
    """Makes, uses and forgets keys of the Transit engine (`identity.keys.KeyManager`).

    Args:
        engine: the client.
        mount: where the engine is.
        prefix: begins the names of these keys there; a dot follows, which no id and no prefix has.
    """

    def __init__(self, engine: Engine, mount: str, prefix: str) -> None:
        self._engine = engine
        self._mount = mount
        self._prefix = f"{prefix}."

    def generate(self, key_id: str, key_type: str) -> PrivateKey:
        """See `KeyManager.generate`."""
        if key_type not in _TYPES:
            raise KeyManagerError(f"{key_type!r} is no type of key; use one of: {', '.join(KEY_TYPES)}")
        check_new_id(key_id, self.ids())
        self._asked(lambda: self._engine.write(self._path(key_id), {"type": _TYPES[key_type], "exportable": False}))
        return self.private_key(key_id)

    def private_key(self, key_id: str) -> PrivateKey:
        """See `KeyManager.private_key`."""
        public = load_pem_public_key(self._public(key_id).encode())
        sign = self._signer(key_id)
        if isinstance(public, ec.EllipticCurvePublicKey):
            return TransitEcKey(public, sign)
        if isinstance(public, rsa.RSAPublicKey):
            return TransitRsaKey(public, sign)
        raise KeyManagerError(f"{self._path(key_id)} is neither an ECDSA nor an RSA key")

    def ed25519(self, key_id: str, *, make: bool) -> tuple["TransitEd25519Key", bool]:
        """Return an Ed25519 key, and whether it was made just now.

        Args:
            key_id: which.
            make: make it if it is not there.

        Raises:
            KeyManagerError: it is not there, or cannot be had.
        """
        made = False
        if checked_id(key_id) not in self.ids():
            if not make:
                raise KeyManagerError(f"the key {self._path(key_id)} is not in Vault; restore Vault from a backup")
            self._asked(lambda: self._engine.write(self._path(key_id), {"type": "ed25519", "exportable": False}))
            made = True
        try:
            public = Ed25519PublicKey.from_public_bytes(b64decode(self._public(key_id)))
        except ValueError as error:
            raise KeyManagerError(f"{self._path(key_id)} is no Ed25519 key") from error
        return TransitEd25519Key(public, self._signer(key_id)), made

    def hmac(self, key_id: str, data: bytes) -> bytes:
        """Return what only Vault can make of some data with a key (HMAC-SHA256): a secret derived from it.

        Raises:
            KeyManagerError: it cannot be had.
        """
        path = f"{self._mount}/hmac/{self._prefix}{checked_id(key_id)}/sha2-256"
        answer = self._asked(lambda: self._engine.write(path, {"input": b64encode(data).decode()}))
        return _decoded(path, answer.get("hmac"))

    def delete(self, key_id: str) -> None:
        """See `KeyManager.delete`."""
        if checked_id(key_id) in self.ids():
            self._asked(lambda: self._engine.write(f"{self._path(key_id)}/config", {"deletion_allowed": True}))
            self._asked(lambda: self._engine.delete(self._path(key_id)))

    def ids(self) -> frozenset[str]:
        """See `KeyManager.ids`."""
        found = self._asked(lambda: self._engine.keys(f"{self._mount}/keys"))
        return frozenset(name.removeprefix(self._prefix) for name in found if name.startswith(self._prefix))

    def _path(self, key_id: str) -> str:
        return f"{self._mount}/keys/{self._prefix}{checked_id(key_id)}"

    def _public(self, key_id: str) -> str:
        try:
            versions = self._engine.get(self._path(key_id)).get("keys")
        except SecretSourceError as error:
            if error.code == "secret_missing":
                raise KeyManagerError(
                    f"the key {self._path(key_id)} is not in Vault; restore it from a backup"
                ) from error
            raise KeyManagerError(str(error)) from error
        newest = versions[max(versions, key=int)] if isinstance(versions, dict) and versions else None
        public = newest.get("public_key") if isinstance(newest, dict) else None
        if not isinstance(public, str):
            raise KeyManagerError(f"{self._path(key_id)} has no public key")
        return public

    def _signer(self, key_id: str) -> Sign:
        name = f"{self._prefix}{checked_id(key_id)}"

        def sign(data: bytes, parameters: Mapping[str, Any]) -> bytes:
            algorithm = parameters.get("hash_algorithm")
            path = f"{self._mount}/sign/{name}" + (f"/{algorithm}" if algorithm else "")
            sent = {"input": b64encode(data).decode(), **parameters}
            return _decoded(path, self._asked(lambda: self._engine.write(path, sent)).get("signature"))

        return sign

    def _asked(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except SecretSourceError as error:
            raise KeyManagerError(f"{error}. {error.remedy}".strip()) from error


class TransitEcKey(ec.EllipticCurvePrivateKey):
    """An ECDSA key in Vault."""

    def __init__(self, public: ec.EllipticCurvePublicKey, sign: Sign) -> None:
        self._public = public
        self._sign = sign

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._public

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._public.curve

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """Sign in Vault; the digest alone goes there."""
        digest, name = _digest(data, signature_algorithm.algorithm)
        return self._sign(digest, {"prehashed": True, "hash_algorithm": name, "marshaling_algorithm": "asn1"})

    def exchange(self, *_: Any, **__: Any) -> NoReturn:
        _stays()

    def private_numbers(self) -> NoReturn:
        _stays()

    def private_bytes(self, *_: Any, **__: Any) -> NoReturn:
        _stays()

    def __copy__(self) -> "TransitEcKey":
        return self

    def __deepcopy__(self, memo: dict[Any, Any]) -> "TransitEcKey":
        return self


class TransitRsaKey(rsa.RSAPrivateKey):
    """An RSA key in Vault."""

    def __init__(self, public: rsa.RSAPublicKey, sign: Sign) -> None:
        self._public = public
        self._sign = sign

    def public_key(self) -> rsa.RSAPublicKey:
        return self._public

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def sign(self, data: Any, padding: Any, algorithm: Any) -> bytes:
        """Sign in Vault by PKCS #1 v1.5, or by PSS with a salt as long as the digest."""
        digest, name = _digest(data, algorithm)
        return self._sign(digest, {"prehashed": True, "hash_algorithm": name, **_padding(padding)})

    def decrypt(self, *_: Any, **__: Any) -> NoReturn:
        _stays()

    def private_numbers(self) -> NoReturn:
        _stays()

    def private_bytes(self, *_: Any, **__: Any) -> NoReturn:
        _stays()

    def __copy__(self) -> "TransitRsaKey":
        return self

    def __deepcopy__(self, memo: dict[Any, Any]) -> "TransitRsaKey":
        return self


class TransitEd25519Key(Ed25519PrivateKey):
    """An Ed25519 key in Vault."""

    def __init__(self, public: Ed25519PublicKey, sign: Sign) -> None:
        self._public = public
        self._sign = sign

    def public_key(self) -> Ed25519PublicKey:
        return self._public

    def sign(self, data: Any) -> bytes:
        """Sign in Vault; the message goes there, as Ed25519 takes no digest (RFC 8032, section 5.1.6)."""
        return self._sign(bytes(data), {})

    def private_bytes(self, *_: Any, **__: Any) -> NoReturn:
        _stays()

    def private_bytes_raw(self) -> NoReturn:
        _stays()

    def __copy__(self) -> "TransitEd25519Key":
        return self

    def __deepcopy__(self, memo: dict[Any, Any]) -> "TransitEd25519Key":
        return self


def _stays() -> NoReturn:
    raise TypeError("this private key is in Vault and does not leave it")


def _digest(data: Any, algorithm: Any) -> tuple[bytes, str]:
    if isinstance(algorithm, Prehashed):
        raise TypeError("a key in Vault takes the data, not their digest")
    name = _HASHES.get(algorithm.name)
    if name is None:
        raise TypeError(f"keys in Vault do not sign with {algorithm.name} here")
    hasher = hashes.Hash(algorithm)
    hasher.update(bytes(data))
    return hasher.finalize(), name


def _padding(chosen: Any) -> dict[str, str]:
    if isinstance(chosen, padding.PKCS1v15):
        return {"signature_algorithm": "pkcs1v15"}
    if isinstance(chosen, padding.PSS):
        return {"signature_algorithm": "pss", "salt_length": "hash"}
    raise TypeError("keys in Vault sign by PKCS1v15 or PSS")


def _decoded(path: str, value: object) -> bytes:
    found = _SIGNATURE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise KeyManagerError(f"Vault answered {path} with something else")
    return b64decode(cast(str, found[1]))
