"""Records of human oversight: calls that wait for a person, what a person decided, systems that a person stopped."""

from typing import Annotated, Literal

from pydantic import Field

from audit.events.access import Action, Delegation, Payload, TraceId
from audit.events.base import (
    Count,
    EventDefinition,
    EventId,
    Id,
    Name,
    Part,
    PolicyName,
    Principal,
    Record,
    Resource,
    Text,
    absent,
    define,
)

Approval = Annotated[EventId, Field(description="Id of the request for approval.")]
Caller = Annotated[Id, Field(description="Who made the call.")]
System = Annotated[Text, Field(description="AI system of the register; may be empty.")]
Cause = Annotated[Text, Field(description="The person's reason.")]
Drill = Annotated[bool, Field(description="Whether it was an exercise.")]


class Certificate(Part):
    """The certificate that proved who the person is."""

    serial: Name
    fingerprint: Name


class OversightRequested(Record):
    """Written when a call is held back because the policy asks for a person's approval, once for each request."""

    type: Literal["oversight.requested"]
    principal: Principal
    delegation: Delegation
    approval: Approval
    action: Action
    resource: Resource
    operation: Name
    system: System
    request: Payload
    policy: PolicyName
    four_eyes: bool = Field(description="Whether two people have to approve.")
    expires_at: Count = Field(description="Until when it can be approved and used, UNIX seconds.")
    trace_id: TraceId


class _Decided(Record):
    principal: Principal
    approval: Approval
    agent: Caller
    action: Action
    resource: Resource
    system: System
    cause: Cause
    seconds: Count = Field(description="From the request to this decision.")
    peer: Certificate = absent()


class OversightApproved(_Decided):
    """Written before a person's approval of a call counts."""

    type: Literal["oversight.approved"]
    missing: Count = Field(description="How many more people have to approve.")


class OversightRefused(_Decided):
    """Written before a person's refusal of a call counts, or the withdrawal of an approval that was not used."""

    type: Literal["oversight.refused"]
    withdrawn: bool = Field(description="Whether the call was approved before.")


class OversightUsed(Record):
    """Written when a call goes on that was approved. No other call goes on by the same approval."""

    type: Literal["oversight.used"]
    principal: Principal
    approval: Approval
    of: EventId = Field(description="Event id of the call, its `access.intent`.")
    system: System
    approved_by: list[Id]
    seconds: Count = Field(description="From the last decision to the call.")


class OversightOverridden(Record):
    """Written when a person says that the output of a call was not followed."""

    type: Literal["oversight.overridden"]
    principal: Principal
    of: EventId = Field(description="Event id of the call.")
    agent: Caller
    system: System
    how: Literal["disregarded", "reversed", "corrected"]
    cause: Cause
    peer: Certificate = absent()


class _Halted(Record):
    principal: Principal
    system: System
    cause: Cause
    drill: Drill
    peer: Certificate = absent()


class OversightStopped(_Halted):
    """Written when a person stops an AI system: its new calls are refused, its answers under way cut."""

    type: Literal["oversight.stopped"]


class OversightResumed(_Halted):
    """Written before an AI system that a person stopped may be called again."""

    type: Literal["oversight.resumed"]
    seconds: Count = Field(description="How long it was stopped.")


class OversightDrilled(Record):
    """Written after an exercise of stopping a system: how long it took until every worker refused its calls."""

    type: Literal["oversight.drilled"]
    principal: Principal
    system: System
    cause: Cause
    result: Literal["passed", "failed"]
    workers: Count = Field(description="How many workers had the stop in force.")
    milliseconds: Count = Field(description="Until the last of them had, or until it was given up.")
    peer: Certificate = absent()


DEFINITIONS: tuple[EventDefinition, ...] = (
    define(OversightRequested, "access", "low"),
    define(OversightApproved, "access", "medium"),
    define(OversightRefused, "access", "medium"),
    define(OversightUsed, "access", "low"),
    define(OversightOverridden, "access", "medium"),
    define(OversightStopped, "security", "high"),
    define(OversightResumed, "security", "medium"),
    define(OversightDrilled, "security", "low"),
)
