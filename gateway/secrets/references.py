"""The references of secrets in a configuration."""

from collections.abc import Iterator

from pydantic import BaseModel

from gateway.config.model import GatewayConfig

KINDS = ("file:", "env:", "sealed:", "vault:", "exchange:")
"""What a reference begins with."""


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
