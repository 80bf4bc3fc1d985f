"""What every section of the configuration is made of."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_SEALED = re.compile(r"sealed://[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_VAULT = re.compile(
    r"vault://[A-Za-z0-9][A-Za-z0-9._@+/-]*(\?[A-Za-z0-9._~%=&:/*@+-]+)?(#[A-Za-z0-9][A-Za-z0-9._-]{0,127})?"
)
_EXCHANGE = re.compile(r"exchange://[A-Za-z0-9][A-Za-z0-9._-]{0,127}(#[a-z_]{1,64})?")


def _reference(value: str) -> str:
    if value.startswith("sealed:") and not _SEALED.fullmatch(value):
        raise ValueError("a secret of the sealed file is referred to as sealed://NAME")
    if value.startswith(("vault:", "exchange:")):
        raise ValueError("only backends take credentials from Vault and exchanges; use file:, env: or sealed:// here")
    if value and not value.startswith(("file:", "env:", "sealed:")):
        raise ValueError(
            "a secret is given by reference, never in the file itself: use file:/path/to/file, env:NAME, ${NAME}, "
            "sealed://NAME, and for backends vault://MOUNT/PATH#FIELD"
        )
    return value


def _backend_reference(value: str) -> str:
    if value.startswith("vault:"):
        if not _VAULT.fullmatch(value):
            raise ValueError("a secret of Vault is referred to as vault://MOUNT/PATH#FIELD")
        return value
    if value.startswith("exchange:"):
        if not _EXCHANGE.fullmatch(value):
            raise ValueError("what an exchange gives is referred to as exchange://NAME or exchange://NAME#FIELD")
        return value
    return _reference(value)


BackendSecret = Annotated[str, AfterValidator(_backend_reference)]
"""A reference that is resolved for calls, and may be fetched: from Vault, or by an exchange."""

SecretReference = Annotated[str, AfterValidator(_reference)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:-]{0,199}$")]


class Section(BaseModel):
    """A section of the configuration: unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)
