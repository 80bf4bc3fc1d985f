"""Records of the trust domain's authorities: the life of the keys that sign identities."""

from typing import Literal

from pydantic import Field

from audit.events.base import EventDefinition, Name, Principal, Record, Text, absent, define


class _Authority(Record):
    principal: Principal
    kind: Literal["x509", "jwt"]
    authority: Name = Field(description="Subject key id or key id; empty where none came about.")
    detail: Text = Field(description="What a person should know; may be empty.")
    cause: Text = absent("Why, where an operator did it.")


class AuthorityPrepared(_Authority):
    """Written when the next authority was made, and is published."""

    type: Literal["authority.prepared"]


class AuthorityActivated(_Authority):
    """Written when an authority begins to sign."""

    type: Literal["authority.activated"]


class AuthorityTainted(_Authority):
    """Written when what an old authority signed is to be replaced now."""

    type: Literal["authority.tainted"]


class AuthorityRevoked(_Authority):
    """Written when an authority is trusted no more."""

    type: Literal["authority.revoked"]


class AuthorityExpired(_Authority):
    """Written when an authority has expired and was dropped."""

    type: Literal["authority.expired"]


class AuthorityFailed(_Authority):
    """Written when a step that is due in an authority's life cannot be taken."""

    type: Literal["authority.failed"]


DEFINITIONS: tuple[EventDefinition, ...] = (
    define(AuthorityPrepared, "security"),
    define(AuthorityActivated, "security", "low"),
    define(AuthorityTainted, "security", "high"),
    define(AuthorityRevoked, "security", "high"),
    define(AuthorityExpired, "security"),
    define(AuthorityFailed, "security", "high"),
)
