"""The tables of who may do what: roles, their bindings to subjects, and the duties that are kept apart."""

import re
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, WithJsonSchema, model_validator

from gateway.authorization.policy_data_base import (
    KINDS,
    Amount,
    Entry,
    Kind,
    Name,
    Person,
    Said,
    Text,
    Time,
    did_you_mean,
    seconds_of,
)

ACTIONS = (
    "model.infer",
    "model.embed",
    "model.list",
    "tool.call",
    "object.read",
    "object.write",
    "pipeline.trigger",
    "identity.exchange",
    "identity.renew",
)
"""Actions of the policy contract besides those of the control plane, which start with `admin.`."""

BREAK_GLASS_SECONDS = 86_400
"""Longest a break-glass grant may last (seconds)."""

_ADMIN_ACTION = re.compile(r"admin(\.[a-z_]+)+")
_PATTERN = re.compile(r"[A-Za-z0-9._/:@+*-]{1,200}")
_SUBJECT = rf"^(spiffe://.+|team:.+|kind:({'|'.join(KINDS)}))$"


def _action(value: str) -> str:
    if value in ACTIONS or _ADMIN_ACTION.fullmatch(value):
        return value
    raise ValueError(f"{value!r} is not an action; {did_you_mean(value, ACTIONS, 'actions')}, or admin.…")


def _resource(value: str) -> str:
    if not _PATTERN.fullmatch(value):
        raise ValueError(f"{value!r} is not a resource: a name, or a pattern in which * stands for any text")
    return value


Action = Annotated[
    str,
    AfterValidator(_action),
    WithJsonSchema(
        {"anyOf": [{"enum": list(ACTIONS)}, {"type": "string", "pattern": f"^{_ADMIN_ACTION.pattern}$"}]},
    ),
]
Resource = Annotated[
    str, AfterValidator(_resource), WithJsonSchema({"type": "string", "pattern": f"^{_PATTERN.pattern}$"})
]


class Permission(Entry):
    """Actions on resources."""

    actions: list[Action] = Field(min_length=1)
    resources: list[Resource] = Field(min_length=1)


class Role(Entry):
    """What a role may do."""

    description: str = ""
    permissions: list[Permission]
    kinds: list[Kind] | None = Field(
        None, min_length=1, description="Kinds of principal the role is for; to others it grants nothing."
    )
    max_output_tokens: Amount | None = Field(None, description="Bound of the answer of a model call (tokens).")
    max_grant_days: Amount | None = Field(
        None, description="Longest grant of the role (days). With it, the role is only granted for a time."
    )


class Grant(Entry):
    """A role given for a time: from `not_before`, until before `not_after`."""

    role: Name
    not_before: Time | None = Field(None, description="First moment of the grant; without it, from ever.")
    not_after: Time = Field(description="The moment the grant ends.")
    reason: Said
    approved_by: Person
    ticket: Text | None = None
    break_glass: bool = Field(
        False, strict=True, description="For an emergency: at most 24 hours, and marked in every decision."
    )

    @property
    def start(self) -> int:
        """First second of the grant (UNIX seconds)."""
        return seconds_of(self.not_before) if self.not_before else 0

    @property
    def end(self) -> int:
        """The second from which the grant is over (UNIX seconds)."""
        return seconds_of(self.not_after)

    @model_validator(mode="after")
    def _is_a_period(self) -> Self:
        if self.end <= self.start:
            raise ValueError(f"the grant of {self.role} ends before it starts; not_after is later than not_before")
        if self.break_glass:
            if self.not_before is None:
                raise ValueError(f"the break-glass grant of {self.role} needs not_before: it lasts at most 24 hours")
            if self.end - self.start > BREAK_GLASS_SECONDS:
                raise ValueError(
                    f"the break-glass grant of {self.role} lasts longer than 24 hours; end it sooner, "
                    "or have the role granted in the ordinary way"
                )
        return self


def _form(value: Any) -> str:
    return "grant" if isinstance(value, dict | Grant) else "role"


Binding = Annotated[Annotated[str, Tag("role")] | Annotated[Grant, Tag("grant")], Discriminator(_form)]
"""What is bound to a subject: the name of a role, for good, or a grant, for a time."""

Subject = Annotated[str, WithJsonSchema({"type": "string", "pattern": _SUBJECT})]


def role_of(binding: str | Grant) -> str:
    """Return the name of the role that is bound."""
    return binding if isinstance(binding, str) else binding.role


class Duties(Entry):
    """Roles of which nobody may hold two."""

    name: Name
    roles: list[Name] = Field(min_length=2)
    why: Said


class Separation(Entry):
    """The table of duties that are kept apart."""

    duties: list[Duties] = Field([])
    grant_pause_hours: Amount = Field(
        24,
        description="Grants of one role to one subject with less than this between them (hours) count as one, where "
        "their length is bounded.",
    )
