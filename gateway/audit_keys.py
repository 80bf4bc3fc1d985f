"""The keys that sign the checkpoints of the audit log: made at the first start, sealed at rest.

Only the control process holds them (ADR 7). The public half is a verifier key of C2SP signed-note; it has to reach
auditors by another way than this machine.
"""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.tlog.note import Ed25519Signer, NoteSigner
from gateway.config.model import GatewayConfig
from gateway.errors import ConfigError, UnavailableError
from gateway.secrets.reference_store import ReferenceStore
from identity.errors import SealError
from identity.sealing import decode_seal_key, read_sealed, write_private, write_sealed

KEY_FILE = "checkpoint.key"
VERIFIER_FILE = "checkpoint.vkey"
"""The public key, beside the log for convenience; what an auditor trusts comes from elsewhere."""


def open_signer(config: GatewayConfig) -> tuple[NoteSigner, bool]:
    """Return the log's signer, and whether its key was made just now.

    Raises:
        ConfigError: the sealing key cannot be had or does not open the key; or the log has a tree and lost its key.
    """
    try:
        seal_key = decode_seal_key(ReferenceStore().read(config.identity.seal_key).reveal())
        path = config.audit_dir / KEY_FILE
        made = not path.exists()
        if made:
            _make(path, seal_key, config)
        signer = Ed25519Signer(config.audit_log, Ed25519PrivateKey.from_private_bytes(read_sealed(path, seal_key)))
        _show(config.audit_dir / VERIFIER_FILE, signer.verifier_key)
    except UnavailableError as error:
        raise ConfigError(f"identity.seal_key seals the key of the audit log's checkpoints: {error.detail}") from error
    except (SealError, OSError) as error:
        raise ConfigError(f"the key of the audit log's checkpoints: {error}") from error
    return signer, made


def _make(path: Path, seal_key: bytes, config: GatewayConfig) -> None:
    if (config.audit_tree / "checkpoint").exists():
        raise ConfigError(
            f"{path} is gone and the log has signed checkpoints: restore it from a backup. A new key would not be "
            f"trusted by those who have the old one."
        )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_sealed(path, seal_key, Ed25519PrivateKey.generate().private_bytes_raw())


def _show(path: Path, verifier_key: str) -> None:
    content = f"{verifier_key}\n".encode()
    if not path.exists() or path.read_bytes() != content:
        write_private(path, content)
