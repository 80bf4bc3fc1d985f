"""The keys that sign the checkpoints of the audit log: made at the first start, sealed at rest.

Only the control process holds them (ADR 7). The public half is a verifier key of C2SP signed-note; it has to reach
auditors by another way than this machine.
"""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.receipts import CHECKPOINT
from audit.tlog.note import Ed25519Signer, NoteSigner
from audit.tree.state import FILE_NAME, TreeState
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
        _check_together(path, config.audit_tree, made)
        if made:
            config.audit_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            TreeState(config.audit_tree).close()  # first, so that a key never stands alone after a kill
            write_sealed(path, seal_key, Ed25519PrivateKey.generate().private_bytes_raw())
        signer = Ed25519Signer(config.audit_log, Ed25519PrivateKey.from_private_bytes(read_sealed(path, seal_key)))
        _show(config.audit_dir / VERIFIER_FILE, signer.verifier_key)
    except UnavailableError as error:
        raise ConfigError(f"identity.seal_key seals the key of the audit log's checkpoints: {error.detail}") from error
    except (SealError, OSError) as error:
        raise ConfigError(f"the key of the audit log's checkpoints: {error}") from error
    return signer, made


def _check_together(key: Path, tree: Path, made: bool) -> None:
    """Refuse to begin anew with one of the two where the other one is from before.

    Raises:
        ConfigError: key or tree was taken away.
    """
    if made and (tree / CHECKPOINT).exists():
        raise ConfigError(
            f"{key} is gone and the log has signed checkpoints: restore it from a backup. A new key would not be "
            f"trusted by those who have the old one."
        )
    if not made and not (tree / FILE_NAME).exists():
        raise ConfigError(
            f"{tree / FILE_NAME} is gone, and its log was signed with {key}: restore {tree} from a backup. A tree made "
            f"anew would contradict the checkpoints that others have."
        )


def _show(path: Path, verifier_key: str) -> None:
    content = f"{verifier_key}\n".encode()
    if not path.exists() or path.read_bytes() != content:
        write_private(path, content)
