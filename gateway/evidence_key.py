"""The key that signs packages of evidence: made when it is first asked for, sealed at rest, apart from the log's.

Who has it can sign a package, and no checkpoint. Its public half has to reach auditors by another way than packages.
"""

import secrets

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from compliance.package.signing import public_pem
from gateway.config.model import GatewayConfig
from gateway.errors import ConfigError, UnavailableError
from gateway.secrets.opening import secret_store
from identity.errors import SealError
from identity.sealing import decode_seal_key, read_sealed, write_private, write_sealed

DIRECTORY = "evidence"
"""Where what belongs to packages is kept, in the directory of the audit log."""

KEY_FILE = "evidence.key"
PUBLIC_FILE = "evidence.pem"


class EvidenceKey:
    """The key, and the secrets that are derived from it.

    Attributes:
        private: signs manifests.
        made: whether it was drawn just now.
    """

    def __init__(self, seed: bytes, *, made: bool) -> None:
        self.private = Ed25519PrivateKey.from_private_bytes(seed)
        self.made = made
        self._seed = seed

    def pseudonyms(self, question_digest: str) -> bytes:
        """Return what names are replaced with in packages of one question: no other package's pseudonyms match."""
        info = f"govgateway evidence pseudonyms {question_digest}".encode()
        return HKDF(SHA256(), 32, None, info).derive(self._seed)


def open_evidence_key(config: GatewayConfig) -> EvidenceKey:
    """Return the key; it is made if there is none.

    Raises:
        ConfigError: the sealing key cannot be had, or does not open it.
    """
    path = config.audit_dir / DIRECTORY / KEY_FILE
    try:
        seal_key = decode_seal_key(secret_store(config).read(config.identity.seal_key).reveal())
        made = not path.exists()
        if made:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_sealed(path, seal_key, secrets.token_bytes(32))
        key = EvidenceKey(read_sealed(path, seal_key), made=made)
        public = public_pem(key.private.public_key()).encode()
        shown = path.with_name(PUBLIC_FILE)
        if not shown.exists() or shown.read_bytes() != public:
            write_private(shown, public)
    except UnavailableError as error:
        raise ConfigError(f"identity.seal_key seals the key of evidence: {error.detail}") from error
    except (SealError, OSError) as error:
        raise ConfigError(f"the key that signs evidence: {error}") from error
    return key
