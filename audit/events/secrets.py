"""Records of secrets: which was read for what. No secret is in them."""

from typing import Literal

from pydantic import Field

from audit.events.base import Count, EventDefinition, Id, Name, Principal, Record, absent, define


class SecretRead(Record):
    """Written when another value is fetched from Vault or by an exchange, before it is used."""

    type: Literal["secret.read"]
    principal: Principal
    secret: Name = Field(description="The reference without its field; never the value.")
    purpose: Literal["first", "rotated"] = Field(
        description="Whether the gateway had no value of it before, or has another one from now on."
    )
    version: Count = Field(description="The store's number of the value; 0 where it counts none.")
    lease: Name = Field(description="Name of the lease in Vault; empty where nothing is leased.")
    on_behalf_of: Id = absent("The agent on whose behalf alone it is used, where a backend wants that.")


class SecretReleased(Record):
    """Written when a leased value is not needed any more, before its lease is revoked."""

    type: Literal["secret.released"]
    principal: Principal
    secret: Name = Field(description="The reference without its field.")
    lease: Name = Field(description="Name of the lease in Vault.")
    cause: Literal["revoked", "idle"] = Field(
        description="The agent lost its standing, or nobody used it and nothing names it any more."
    )


class SecretChanged(Record):
    """Written before a secret of the sealed file is put in, given a new value, or taken out."""

    type: Literal["secret.changed"]
    principal: Principal
    secret: Name = Field(description="The reference, `sealed://NAME`; never the value.")
    change: Literal["set", "rotated", "removed"]
    version: Count = Field(description="Number of the value from now on; of a removal, the last one.")


DEFINITIONS: tuple[EventDefinition, ...] = (
    define(SecretRead, "security"),
    define(SecretReleased, "security"),
    define(SecretChanged, "security"),
)
