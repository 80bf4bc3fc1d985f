"""Records of sealed content: stored, looked at, erased. The content itself is in no record."""

from typing import Literal

from pydantic import Field

from audit.events.base import Count, EventDefinition, EventId, Id, Name, Record, Sha256, Text, absent, define


class ContentSealed(Record):
    """Written when content is stored because an obligation asks for it, sealed under the key of its subject or case."""

    type: Literal["content.sealed"]
    principal: Id
    of: EventId = Field(description="Event id of the call that it belongs to.")
    content: Name = Field(description="Name of the sealed content in its store.")
    kind: Name = Field(description="What it is, for instance `prompt` or `output`.")
    subject: Name = Field(description="Keyed pseudonym of the data subject, or the case.")
    key: Name = Field(description="Id of the key that it is sealed under.")
    bytes: Count
    digest: Sha256 = Field(description="SHA-256 of the sealed bytes.")


class ContentOpened(Record):
    """Written before sealed content is shown to somebody."""

    type: Literal["content.opened"]
    principal: Id
    content: Name
    of: EventId = absent()
    subject: Name
    key: Name
    cause: Text
    approved_by: list[Id] = Field(description="Who approved it besides the principal; may be empty.")


class ContentErased(Record):
    """Written when the key of a data subject or case is destroyed, and with it all content sealed under it."""

    type: Literal["content.erased"]
    principal: Id
    subject: Name
    key: Name
    cause: Text
    contents: Count = absent("How many contents were sealed under it.")


DEFINITIONS: tuple[EventDefinition, ...] = (
    define(ContentSealed, "access", "low", written=False),
    define(ContentOpened, "security", "high", written=False),
    define(ContentErased, "security", "medium", written=False),
)
