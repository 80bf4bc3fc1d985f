"""The digest of a configuration: what tells one from another in the audit log and between processes."""

from hashlib import sha256
from typing import Any

from audit.canonical import canonical
from gateway.config.loader import show_config
from gateway.config.model import GatewayConfig


def config_digest(config: GatewayConfig) -> str:
    """Return the SHA-256 (hex) of the configuration in canonical form, every default filled in."""
    return sha256(canonical(_without_floats(show_config(config)))).hexdigest()


def _without_floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_floats(item) for item in value]
    return str(value) if isinstance(value, float) else value
