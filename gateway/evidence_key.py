"""The key that signs packages of evidence: made when it is first asked for, sealed at rest, apart from the log's.

Who has it can sign a package, and no checkpoint. Its public half has to reach auditors by another way than packages.
"""

import secrets
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from compliance.package.signing import public_pem
from gateway.config.model import GatewayConfig
from gateway.errors import ConfigError, UnavailableError
from gateway.secrets.opening import secret_store
from identity.errors import KeyManagerError, SealError
from identity.sealing import decode_seal_key, read_sealed, write_private, write_sealed

DIRECTORY = "evidence"
"""Where what belongs to packages is kept, in the directory of the audit log."""

KEY_FILE = "evidence.key"
PUBLIC_FILE = "evidence.pem"

EVIDENCE_KEY = "evidence"
"""Name of the key in Vault."""

Derive = Callable[[bytes], bytes]
"""Derives a secret of 32 bytes for one purpose."""


class EvidenceKey:
    """The key, and the secrets that are derived from it.

    Attributes:
        private: signs manifests.
        made: whether it was drawn just now.
    """

    def __init__(self, private: Ed25519PrivateKey, derive: Derive, *, made: bool) -> None:
        self.private = private
        self.made = made
        self._derive = derive

    def pseudonyms(self, question_digest: str) -> bytes:
        """Return what names are replaced with in packages of one question: no other package's pseudonyms match."""
        return self._derive(f"govgateway evidence pseudonyms {question_digest}".encode())


def open_evidence_key(config: GatewayConfig) -> EvidenceKey:
    """Return the key; it is made if there is none.

    Raises:
        ConfigError: the sealing key cannot be had, or does not open it.
    """
    path = config.audit_dir / DIRECTORY / KEY_FILE
    try:
        if config.secrets.vault.keys.evidence:
            key = _transit_key(config)
            _show(path, key)
            return key
        seal_key = decode_seal_key(secret_store(config).read(config.identity.seal_key).reveal())
        made = not path.exists()
        if made:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_sealed(path, seal_key, secrets.token_bytes(32))
        seed = read_sealed(path, seal_key)
        key = EvidenceKey(
            Ed25519PrivateKey.from_private_bytes(seed),
            lambda info: HKDF(SHA256(), 32, None, info).derive(seed),
            made=made,
        )
        _show(path, key)
    except UnavailableError as error:
        raise ConfigError(f"identity.seal_key seals the key of evidence: {error.detail}") from error
    except (SealError, KeyManagerError, OSError) as error:
        raise ConfigError(f"the key that signs evidence: {error}") from error
    return key


def _transit_key(config: GatewayConfig) -> EvidenceKey:
    from gateway.secrets.vault.opening import open_transit  # noqa: PLC0415 - loaded only where it is used

    keys = open_transit(config, "log")
    private, made = keys.ed25519(EVIDENCE_KEY, make=True)
    return EvidenceKey(private, lambda info: keys.hmac(EVIDENCE_KEY, info), made=made)


def _show(path: Path, key: EvidenceKey) -> None:
    """Keep the public half beside the private one, for convenience."""
    public = public_pem(key.private.public_key()).encode()
    shown = path.with_name(PUBLIC_FILE)
    if not shown.exists() or shown.read_bytes() != public:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(shown, public)
