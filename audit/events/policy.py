"""Records of the policies: which revision decides since when, by whom, and what was refused."""

from typing import Literal

from pydantic import Field

from audit.events.base import (
    Count,
    EventDefinition,
    Integer,
    Json,
    Name,
    Nothing,
    Object,
    Part,
    PolicyName,
    Principal,
    Record,
    Sha256,
    Text,
    absent,
    define,
)


class Replaced(PolicyName):
    """The revision that was in force before."""

    bundle_digest: Sha256


class Change(Part):
    """How a revision came about, as its signed bundle says (SOC 2 CC8.1)."""

    serial: Count
    commit: Name
    commit_signed: bool
    author: Name
    approvers: list[Name]
    link: Name
    checks: list[Name]
    impact: dict[str, Integer]


class PolicyActivated(Record):
    """Written before anything is decided by a revision."""

    type: Literal["policy.activated"]
    principal: Principal
    policy: PolicyName
    bundle_digest: Sha256
    replaced: Replaced | Nothing
    source: Text = Field(description="Where the bundle came from.")
    rollback: bool
    reason: Text = Field(description="Why, for a rollback.")
    change: Change


class PolicyActivationFailed(Record):
    """Written when a revision that `policy.activated` names is not in force after all."""

    type: Literal["policy.activation_failed"]
    principal: Principal
    bundle_digest: Sha256
    cause: Text


class PolicyRefused(Record):
    """Written when a revision is refused; the one in force stays."""

    type: Literal["policy.refused"]
    principal: Principal
    source: Text
    rollback: bool
    cause: Text


class PolicyShadowStarted(Record):
    """Written when a candidate revision begins to decide beside the active one, with nobody obeying it."""

    type: Literal["policy.shadow_started"]
    principal: Principal
    policy: PolicyName
    bundle_digest: Sha256
    source: Text


class PolicyShadowStopped(Record):
    """Written when the candidate is taken away, with what was seen of it."""

    type: Literal["policy.shadow_stopped"]
    principal: Principal
    policy: PolicyName
    bundle_digest: Sha256
    source: Text
    decided: Count
    skipped: Count
    malformed: Count
    changes: dict[str, Count] = Field(description="Decisions that would have been others, by kind of change.")


class OpaDecision(Record):
    """Written for each decision that an OPA server reports: a witness's account beside the gateway's own records."""

    type: Literal["opa.decision"]
    principal: Principal
    partition: Text
    decision_id: Text
    batch_decision_id: Text = absent()
    trace_id: Text = absent()
    path: Text = absent()
    query: Text = absent()
    requested_by: Text = absent()
    timestamp: Text = absent()
    revision: Text = absent()
    labels: Json
    bundles: Json
    masked: Json = absent()
    erased: Json = absent()
    error: Json = absent()
    input: Json = absent()
    result: Json = absent()
    mapped_result: Json = absent()
    nd_builtin_cache: Json = absent()


class OpaStatus(Record):
    """Written when an OPA server says something new of itself."""

    type: Literal["opa.status"]
    principal: Principal
    partition: Text
    labels: Json
    bundles: Object
    plugins: Object


DEFINITIONS: tuple[EventDefinition, ...] = (
    define(PolicyActivated, "change", "medium"),
    define(PolicyActivationFailed, "change", "high"),
    define(PolicyRefused, "change", "medium"),
    define(PolicyShadowStarted, "change"),
    define(PolicyShadowStopped, "change"),
    define(OpaDecision, "access"),
    define(OpaStatus, "change"),
)
