"""Records of the control plane: what was asked of it, and what was decided."""

from typing import Literal

from audit.events.access import PolicyInput
from audit.events.base import Count, EventDefinition, Name, Peer, PolicyName, Principal, Record, Resource, define


class AdminRequest(Record):
    """Written before a request to the control plane is carried out or refused."""

    type: Literal["admin.request"]
    principal: Principal
    action: Name
    resource: Resource
    decision: Literal["allow", "deny"]
    reasons: list[Name]
    policy: PolicyName
    policy_input: PolicyInput
    peer: Peer
    method: Name


class AdminDenialsSuppressed(Record):
    """Written now and then with the number of refusals of one identity beyond those put on record one by one."""

    type: Literal["admin.denials_suppressed"]
    principal: Principal
    count: Count


DEFINITIONS: tuple[EventDefinition, ...] = (
    define(AdminRequest, "change"),
    define(AdminDenialsSuppressed, "security", "medium"),
)
