"""Records of calls on the data plane: what was asked, what was decided, what came of it."""

from typing import Annotated, Literal

from pydantic import Field

from audit.events.base import (
    Count,
    EventDefinition,
    EventId,
    Id,
    Integer,
    Name,
    Nothing,
    Object,
    Part,
    Peer,
    PolicyName,
    Principal,
    Record,
    Resource,
    Sha256,
    Text,
    absent,
    define,
)

Delegation = Annotated[list[Id], Field(description="For whom the caller acts, the first in the chain first.")]

Action = Annotated[Name, Field(description="What is done, for instance `model.infer`.")]
Reasons = Annotated[list[Name], Field(description="Stable codes that say why.")]
TraceId = Annotated[Name, Field(description="Trace of the call (W3C Trace Context); may be empty.")]


class InputPrincipal(Part):
    """The caller, as the policies were told of it."""

    id: Id
    kind: Name
    team: Text
    owner: Text
    status: Name
    risk_tier: Name
    roles: list[Name]
    break_glass: list[Name]
    delegation: list[Id]
    attributes: Object


class InputCredential(Part):
    """A credential of a backend that may serve the call."""

    backend: Name
    secret: Name = Field(description="The reference.")


class InputResource(Part):
    """The resource, as the policies were told of it."""

    type: Name
    id: Name
    system: Text
    risk: Name
    region: Name
    data_classes: list[Name]
    credentials: list[InputCredential] = absent(
        "Credentials that the call would be forwarded with, where there are any."
    )


class InputRequest(Part):
    """The request, as the policies were told of it."""

    protocol: Name
    stream: bool
    max_tokens: Count
    tools: list[Name]
    data_classes: list[Name]


class InputContext(Part):
    """Where the gateway runs, as the policies were told."""

    region: Name
    environment: Name


class PolicyInput(Part):
    """What the policies decided on, whole: the decision can be made again."""

    principal: InputPrincipal
    action: Name
    resource: InputResource
    request: InputRequest
    context: InputContext


class Payload(Part):
    """A body that is not in the log."""

    bytes: Count
    digest: Sha256 = Field(description="HMAC-SHA256 under the log's digest key.")


class Token(Part):
    """The JWT-SVID that the call carried."""

    id: Id
    jti: Name
    key_id: Name
    not_after: Count


class Risk(Part):
    """The risk as it stood when the call was decided."""

    agent: Name = Field(description="Highest risk that the caller may reach; empty for an unregistered one.")
    status: Name = Field(description="State of the caller in the inventory; empty for an unregistered one.")
    system: Name = Field(description="Risk of the AI system; empty where none is known.")


class Model(Part):
    """The model that was called."""

    name: Name = Field(description="As the caller writes it.")
    upstream: Name = Field(description="Its name on the backends.")


class Revocation(Part):
    """Why an identity that was proven is refused all the same, or its answer cut."""

    code: Name
    cause: Text


class Reservation(Part):
    """What was reserved for the call."""

    reserved_tokens: Count
    limits: list[Text] = Field(description="Keys of the limits that apply: `limit|subject`.")


class Limit(Part):
    """The limit that refused."""

    limit: Text = Field(description="Its key: `limit|subject`.")
    unit: Literal["requests", "tokens", "streams"]
    window_seconds: Count = Field(description="60 for a rate a minute, 86400 for a day, 0 for a concurrency.")
    amount: Count
    remaining: Integer
    retry_after_seconds: Count


class Usage(Part):
    """What the call used, in tokens."""

    input_tokens: Count
    output_tokens: Count
    reported: bool = Field(description="Whether the backend reported the figures.")
    charged_tokens: Count = Field(description="What the quotas were charged.")


class Call(Record):
    """What the records of a call have in common before it is forwarded."""

    principal: Principal
    delegation: Delegation
    action: Action
    resource: Resource | Nothing
    operation: Name = Field(description="The protocol's own name of the route.")
    system: Text = Field(description="AI system of the register that the resource belongs to; may be empty.")
    model: Model = absent()
    decision: Literal["allow", "deny"]
    reasons: Reasons
    policy: PolicyName
    policy_input: PolicyInput | Nothing
    delegated_inputs: list[PolicyInput] = absent("The same of each for whom the caller acts, in order.")
    request: Payload
    risk: Risk
    team: Text = absent()
    peer: Peer = absent()
    token: Token = absent()
    trace_id: TraceId


class AccessIntent(Call):
    """Written when a call is allowed and its quota reserved, before a byte of the answer is released."""

    type: Literal["access.intent"]
    decision: Literal["allow"]
    obligations: list[Object] = Field(description="What the policy asked the gateway to do.")
    quota: Reservation
    approval: EventId = absent("Id of the approval that the call went on by.")


class AccessDenied(Call):
    """Written when a call of a proven identity goes no further, before the refusal is answered."""

    type: Literal["access.denied"]
    decision: Literal["deny"]
    problem: Name = Field(description="Last part of the problem type.")
    status: Count = Field(description="HTTP status that was answered.")
    revocation: Revocation = absent()
    quota: Limit = absent("The limit that refused, where one did.")
    approval: EventId = absent("Id of the request for approval that the call waits for.")


class QuotaExceeded(Call):
    """Written in place of `access.denied` when the policies allow a call and a limit refuses it."""

    type: Literal["quota.exceeded"]
    decision: Literal["deny"]
    problem: Name
    status: Count
    quota: Limit


class Credential(Part):
    """The credential that the backend was shown, never its value."""

    secret: Name = Field(description="The reference.")
    version: Count = Field(description="The store's number of the value; 0 where it counts none.")
    lease: Name = Field(description="Name of the lease in Vault; empty where nothing is leased.")


class AccessOutcome(Record):
    """Written when a call that has an intent ends, on every path; closes the intent."""

    type: Literal["access.outcome"]
    intent: EventId = Field(description="Event id of the `access.intent` that it closes.")
    principal: Principal
    delegation: Delegation
    action: Action
    resource: Resource | Nothing
    system: Text
    model: Model = absent()
    result: Literal["completed", "failed", "cut", "client-disconnected"]
    cause: Name = Field(description="Code of the failure or of the cut; empty for a completed call.")
    revocation: Revocation = absent()
    status: Count = Field(description="HTTP status that was answered; 0 where nothing was.")
    backend: Name
    credential: Credential = absent("What the backend was shown, where it was shown something.")
    usage: Usage
    response: Payload
    trace_id: TraceId


class AccessDenialsSuppressed(Record):
    """Written now and then with the number of refusals of one identity beyond those put on record one by one."""

    type: Literal["access.denials_suppressed"]
    principal: Principal
    count: Count


class ConnectionRefused(Record):
    """Written when the listener refuses or cuts a request of a proven identity on its own."""

    type: Literal["connection.refused"]
    principal: Principal
    decision: Literal["deny"]
    reasons: Reasons
    peer: Peer


DEFINITIONS: tuple[EventDefinition, ...] = (
    define(AccessIntent, "access"),
    define(AccessOutcome, "access"),
    define(AccessDenied, "access", "medium"),
    define(QuotaExceeded, "access", "low"),
    define(AccessDenialsSuppressed, "access", "medium"),
    define(ConnectionRefused, "security", "medium"),
)
