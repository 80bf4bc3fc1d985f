"""The keys that sign the checkpoints of the audit log: made at the first start, sealed at rest.

Only the control process holds them (ADR 7). The public half is a verifier key of C2SP signed-note; it has to reach
auditors by another way than this machine.
"""

import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from audit.receipts import CHECKPOINT
from audit.tlog.note import Ed25519Signer, MlDsa44Signer, NoteSigner
from audit.tree.state import FILE_NAME, TreeState
from gateway.clock import NANOSECONDS, system_clock
from gateway.config.model import GatewayConfig
from gateway.errors import ConfigError, UnavailableError
from gateway.secrets.opening import secret_store
from identity.errors import KeyManagerError, SealError
from identity.sealing import decode_seal_key, read_sealed, write_private, write_sealed

KEY_FILE = "checkpoint.key"
POST_QUANTUM_KEY_FILE = "checkpoint-mldsa.key"
POST_QUANTUM_VERIFIER_FILE = "checkpoint-mldsa.vkey"
CHECKPOINT_KEY = "checkpoint"
"""Name of the key in Vault."""

VERIFIER_FILE = "checkpoint.vkey"
"""The public key, beside the log for convenience; what an auditor trusts comes from elsewhere."""


def open_signers(config: GatewayConfig) -> tuple[list[NoteSigner], list[NoteSigner]]:
    """Return the log's signers, and those of them whose keys were made just now.

    Raises:
        ConfigError: the sealing key cannot be had or does not open a key; or the log has a tree and lost its key.
    """
    try:
        seal_key = decode_seal_key(secret_store(config).read(config.identity.seal_key).reveal())
        path = config.audit_dir / KEY_FILE
        if config.secrets.vault.keys.checkpoints:
            key, made = _transit_key(config)
        else:
            _check_together(path, config.audit_tree, not path.exists())
            TreeState(config.audit_tree).close()  # first, so that a key never stands alone after a kill
            seed, made = _key(path, seal_key)
            key = Ed25519PrivateKey.from_private_bytes(seed)
        signers: list[NoteSigner] = [Ed25519Signer(config.audit_log, key)]
        fresh = signers[:1] if made else []
        _show(config.audit_dir / VERIFIER_FILE, signers[0].verifier_key)
        if config.audit.post_quantum:
            seed, made = _key(config.audit_dir / POST_QUANTUM_KEY_FILE, seal_key)
            quantum_key = MLDSA44PrivateKey.from_seed_bytes(seed)
            signers.append(MlDsa44Signer(config.audit_log, quantum_key, lambda: system_clock() // NANOSECONDS))
            fresh += signers[1:] if made else []
            _show(config.audit_dir / POST_QUANTUM_VERIFIER_FILE, signers[1].verifier_key)
    except UnavailableError as error:
        raise ConfigError(f"identity.seal_key seals the key of the audit log's checkpoints: {error.detail}") from error
    except (SealError, KeyManagerError, OSError) as error:
        raise ConfigError(f"the key of the audit log's checkpoints: {error}") from error
    return signers, fresh


def _transit_key(config: GatewayConfig) -> tuple[Ed25519PrivateKey, bool]:
    """Return the log's key that Vault keeps, and whether it was made now: never for a log that has checkpoints."""
    from gateway.secrets.vault.opening import open_transit  # noqa: PLC0415 - loaded only where it is used

    new = not (config.audit_tree / CHECKPOINT).exists()
    key, made = open_transit(config, "log").ed25519(CHECKPOINT_KEY, make=new)
    if new:
        TreeState(config.audit_tree).close()
    return key, made


def _key(path: Path, seal_key: bytes) -> tuple[bytes, bool]:
    """Return the 32 bytes that a key is made from, and whether they were drawn just now."""
    made = not path.exists()
    if made:
        write_sealed(path, seal_key, secrets.token_bytes(32))
    return read_sealed(path, seal_key), made


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
