"""Records of object storage: what was read and written through the gateway."""

from typing import Literal

from audit.events.access import Delegation
from audit.events.base import Count, EventDefinition, Name, Principal, Record, Resource, Sha256, Text, define


class _Object(Record):
    principal: Principal
    delegation: Delegation
    resource: Resource
    system: Text
    bytes: Count
    digest: Sha256
    status: Count
    trace_id: Name


class ObjectRead(_Object):
    """Written when an object was read through the gateway."""

    type: Literal["object.read"]


class ObjectWritten(_Object):
    """Written when an object was written through the gateway."""

    type: Literal["object.written"]


DEFINITIONS: tuple[EventDefinition, ...] = (
    define(ObjectRead, "access", written=False),
    define(ObjectWritten, "access", written=False),
)
