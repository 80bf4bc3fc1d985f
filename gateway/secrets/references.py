"""The references of secrets in a configuration."""

from collections.abc import Iterator

from pydantic import BaseModel

from gateway.config.model import GatewayConfig
from gateway.secrets.vault.places import parse_place

KINDS = ("file:", "env:", "sealed:", "vault:", "exchange:")
"""What a reference begins with."""


def is_leased(config: GatewayConfig, reference: str) -> bool:
    """Return whether a reference names something that is made for a lease, and ends with it."""
    if not reference.startswith("vault:"):
        return False
    return parse_place(reference, config.secrets.vault.mounts).engine in {"dynamic", "pki"}


def references_of(config: GatewayConfig) -> dict[str, str]:
    """Return the references of secrets in a configuration, by their dotted key."""
    return dict(_references(config, ""))


def _references(section: BaseModel, prefix: str) -> Iterator[tuple[str, str]]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        place = f"{prefix}{name}"
        if isinstance(value, BaseModel):
            yield from _references(value, f"{place}.")
        elif isinstance(value, list):
            for number, each in enumerate(value):
                if isinstance(each, BaseModel):
                    yield from _references(each, f"{place}.{getattr(each, 'name', number)}.")
        elif isinstance(value, str) and value.startswith(KINDS):
            yield place, value
