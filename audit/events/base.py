"""What all record types share: the fields of the chain, the kinds of values, and how a type is defined.

A record holds JSON without floats, and integers that every JSON implementation reads exactly. A field that a record may
lack is left out of it; `null` is never written for it.
"""

from dataclasses import dataclass
from inspect import cleandoc
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from typing_extensions import TypeAliasType

from audit.canonical import MAX_INTEGER

Id = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
"""A SPIFFE ID, or `operator:NAME`, `signal`, `pulled` or `daily` where a person, a signal, a source or time acted."""

Principal = Annotated[Id, Field(description="Who acts.")]

Name = Annotated[str, StringConstraints(max_length=512)]
"""A short text: a name, a code, a path. May be empty."""

Text = Annotated[str, StringConstraints(max_length=16_384)]
"""A text for people, such as a cause."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""32 bytes in hexadecimal: a hash, or a keyed digest (HMAC-SHA256)."""

EventId = Annotated[
    str, StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
]
"""UUIDv7 (RFC 9562, section 5.7)."""

LogName = Annotated[str, StringConstraints(max_length=255, pattern=r"^[a-z0-9][a-z0-9._-]*(/[A-Za-z0-9._-]+)*$")]

Nanoseconds = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,19})$")]
"""UNIX time in nanoseconds, as text: it is beyond 2^53."""

Integer = Annotated[int, Field(ge=-MAX_INTEGER, le=MAX_INTEGER)]
Count = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
"""A number of things, bytes or tokens, or UNIX time in seconds (0: never)."""

Json = TypeAliasType("Json", "str | bool | Integer | list[Json] | dict[str, Json] | None")
"""Any JSON value that a record may hold."""

Object: TypeAlias = dict[str, Json]


def absent(description: str = "") -> Any:
    """Return the default of a field that a record may lack. A `null` in its place is refused all the same."""
    return Field(default=None, description=description or None)


RetentionClass = Literal["access", "change", "identity", "security", "integrity"]
"""What decides how long a record is kept.

- `access`: who used which AI system for what, and what came of it: the logs of AI Act, articles 12, 19 and 26(6).
- `change`: what was changed in configuration, policies and inventory, by whom: evidence of change management.
- `identity`: what was issued, to whom.
- `security`: revocations, keys, secrets, unsafe options, opened content.
- `integrity`: what the log says of itself; without it the rest proves less, so it is kept longest.
"""

Severity = Literal["informational", "low", "medium", "high", "critical"]
"""How much attention a record of the type asks for, in the words of OCSF."""


class Part(BaseModel):
    """A part of a record. Unknown names are refused, and nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Record(Part):
    """The fields that the chain sets, in every record."""

    v: int = Field(ge=1, le=1, description="Version of the record's form.")
    log: LogName = Field(description="Name of the log: the origin of its checkpoints.")
    chain: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")] = Field(
        description="Name of the writer's chain in the log."
    )
    seq: Count = Field(description="Place in the chain, from 0.")
    prev: Sha256 = Field(description="Hash of the record before; zeros for the first.")
    event_id: EventId = Field(description="UUIDv7 of the record; for a call, its x-request-id.")
    time: Nanoseconds = Field(description="When it was written: UNIX time in nanoseconds.")
    type: str
    delayed_from: Nanoseconds = absent("When it happened, where it could only be written later.")


class Unwritable(Record):
    """Stands for a record that has no canonical form, and that another one closes."""

    unwritable: Text = Field(description="Why the record itself could not be written.")


class PolicyName(Part):
    """The revision of the policies that decided, or that is meant."""

    revision: Text = Field(description="Name of the revision.")
    data_digest: Sha256 = Field(description="SHA-256 of the canonical data document.")


class Peer(Part):
    """The certificate that proved who called."""

    serial: Name = Field(description="Serial number (hexadecimal).")
    fingerprint: Name = Field(description="SHA-256 of the certificate (hexadecimal).")
    not_after: Count = absent("End of its validity, UNIX seconds.")


class Resource(Part):
    """What was acted on."""

    type: Name
    id: Name


class Nothing(Part):
    """An empty object: the call was refused before this was known."""


RecordModel: TypeAlias = type[Record]


@dataclass(frozen=True, slots=True)
class EventDefinition:
    """A record type.

    Attributes:
        type: for instance `access.intent`.
        version: version of the model; raised by every change that an older reader would misunderstand.
        model: the whole record.
        retention_class: what decides how long it is kept.
        severity: how much attention it asks for.
        written: whether this version of the product writes it.
    """

    type: str
    version: int
    model: RecordModel
    retention_class: RetentionClass
    severity: Severity
    written: bool

    @property
    def description(self) -> str:
        """When it is written: the model's docstring."""
        return cleandoc(self.model.__doc__ or "")


def define(
    model: type[Record],
    retention_class: RetentionClass,
    severity: Severity = "informational",
    *,
    version: int = 1,
    written: bool = True,
) -> EventDefinition:
    """Define the type that a model's field `type` names."""
    (name,) = get_args(model.model_fields["type"].annotation)
    return EventDefinition(name, version, model, retention_class, severity, written)
