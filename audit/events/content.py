"""Records of sealed content: stored, looked for, looked at, erased. Neither the content nor its subject is in them."""

from typing import Annotated, Literal

from pydantic import Field

from audit.events.base import (
    Count,
    EventDefinition,
    EventId,
    Id,
    Name,
    Nanoseconds,
    Principal,
    Record,
    Sha256,
    Text,
    absent,
    define,
)

Content = Annotated[Name, Field(description="Id of the sealed item.")]
Key = Annotated[Name, Field(description="Id of the data key that it is sealed under.")]
Of = Annotated[EventId, Field(description="Event id of the call that it belongs to.")]
Request = Annotated[Name, Field(description="Id of the request to open it.")]
ContentPart = Annotated[Literal["request", "response", "identifiers"], Field(description="Which part of the call.")]
Scope = Annotated[Literal["subject", "case"], Field(description="Whose content: of a data subject, or of a case.")]


class ContentSealed(Record):
    """Written when content is stored because an obligation asks for it, sealed under the key of its subject or case."""

    type: Literal["content.sealed"]
    principal: Principal
    of: Of
    content: Content
    part: ContentPart
    bytes: Count
    commitment: Sha256 = Field(description="Commits to the content; nothing can be guessed from it.")
    key: Key
    case_key: Name = absent("Id of the data key of its case, where it stands under one too.")


class ContentAccessRequested(Record):
    """Written when somebody asks to open sealed content, where two people are needed."""

    type: Literal["content.access_requested"]
    principal: Principal
    request: Request
    of: Of
    part: ContentPart
    cause: Text


class ContentAccessApproved(Record):
    """Written when another person approves such a request."""

    type: Literal["content.access_approved"]
    principal: Principal
    request: Request
    of: Of
    part: ContentPart
    requested_by: Id


class ContentOpened(Record):
    """Written before sealed content is shown to somebody."""

    type: Literal["content.opened"]
    principal: Principal
    of: Of
    part: ContentPart
    content: Content
    key: Key
    cause: Text
    approved_by: list[Id] = Field(description="Who approved it besides the principal; may be empty.")
    request: Name = absent("Id of the request that was approved.")


class ContentSearched(Record):
    """Written before somebody is told what is sealed of a data subject or case."""

    type: Literal["content.searched"]
    principal: Principal
    scope: Scope
    cause: Text
    contents: Count = Field(description="How many items were found.")


class _Erasure(Record):
    principal: Principal
    erasure: Name = Field(description="Id of the erasure.")
    scope: Scope
    keys: list[Name] = Field(description="Ids of the data keys that it takes.")
    contents: Count = Field(description="How many items are sealed under them.")
    cause: Text


class ContentErasing(_Erasure):
    """Written before the keys of a data subject or case are destroyed."""

    type: Literal["content.erasing"]


class ContentErased(_Erasure):
    """Written when they are destroyed: what was sealed under them cannot be opened by anybody any more."""

    type: Literal["content.erased"]
    begun: Nanoseconds
    backups: list[Text] = Field(description="Where copies of the keys may remain until they lapse.")


DEFINITIONS: tuple[EventDefinition, ...] = (
    define(ContentSealed, "access", "low"),
    define(ContentAccessRequested, "security", "medium"),
    define(ContentAccessApproved, "security", "medium"),
    define(ContentOpened, "security", "high"),
    define(ContentSearched, "security", "medium"),
    define(ContentErasing, "security", "medium"),
    define(ContentErased, "security", "medium"),
)
