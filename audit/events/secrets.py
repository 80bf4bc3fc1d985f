"""Records of secrets: which was read for what. No secret is in them."""

from typing import Literal

from pydantic import Field

from audit.events.base import Count, EventDefinition, Name, Principal, Record, define


class SecretRead(Record):
    """Written when a credential is read from the secret store."""

    type: Literal["secret.read"]
    principal: Principal
    secret: Name = Field(description="The reference, for instance `env:NAME`; never the value.")
    purpose: Name = Field(description="What it is for, for instance the name of a backend.")


class SecretChanged(Record):
    """Written before a secret of the sealed file is put in, given a new value, or taken out."""

    type: Literal["secret.changed"]
    principal: Principal
    secret: Name = Field(description="The reference, `sealed://NAME`; never the value.")
    change: Literal["set", "rotated", "removed"]
    version: Count = Field(description="Number of the value from now on; of a removal, the last one.")


DEFINITIONS: tuple[EventDefinition, ...] = (
    define(SecretRead, "security", written=False),
    define(SecretChanged, "security"),
)
