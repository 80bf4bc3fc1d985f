"""Records of secrets: which was read for what. No secret is in them."""

from typing import Literal

from pydantic import Field

from audit.events.base import EventDefinition, Name, Principal, Record, define


class SecretRead(Record):
    """Written when a credential is read from the secret store."""

    type: Literal["secret.read"]
    principal: Principal
    secret: Name = Field(description="The reference, for instance `env:NAME`; never the value.")
    purpose: Name = Field(description="What it is for, for instance the name of a backend.")


DEFINITIONS: tuple[EventDefinition, ...] = (define(SecretRead, "security", written=False),)
