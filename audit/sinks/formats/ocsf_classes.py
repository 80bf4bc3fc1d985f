"""Which class and activity of OCSF 1.8.0 each record type is.

The classes are those whose definition fits without bending it: calls are API Activity, identities proven or refused are
Authentication, what is managed (identities, authorities, policies, keys, segments) is Entity Management, the gateway
itself is Application Lifecycle, and what a person should look at is a Detection Finding. The rest is a Base Event.
Where no activity of the class fits, it is 99 (Other), named after the action of a call, else after the record type.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

VERSION = "1.8.0"
"""Version of the schema."""

OTHER = 99


@dataclass(frozen=True, slots=True)
class EventClass:
    """A class of events.

    Attributes:
        activities: captions of its activities, by id.
    """

    uid: int
    name: str
    category_uid: int
    category: str
    activities: Mapping[int, str]


API_ACTIVITY = EventClass(
    6003, "API Activity", 6, "Application Activity", {1: "Create", 2: "Read", 3: "Update", 4: "Delete"}
)
APPLICATION_LIFECYCLE = EventClass(
    6002, "Application Lifecycle", 6, "Application Activity", {3: "Start", 4: "Stop", 8: "Update"}
)
AUTHENTICATION = EventClass(3002, "Authentication", 3, "Identity & Access Management", {1: "Logon"})
ENTITY_MANAGEMENT = EventClass(
    3004, "Entity Management", 3, "Identity & Access Management",
    {
        1: "Create", 3: "Update", 4: "Delete", 8: "Enable", 9: "Disable", 10: "Activate", 11: "Deactivate",
        12: "Suspend",
    },
)  # fmt: skip
DETECTION_FINDING = EventClass(2004, "Detection Finding", 2, "Findings", {1: "Create", 2: "Update", 3: "Close"})
BASE_EVENT = EventClass(0, "Base Event", 0, "Uncategorized", {})


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a record type is.

    Attributes:
        activity: its id in the class.
        failed: whether the record says that something did not succeed.
        entity: kind of the entity that is managed.
        name: the field that names the entity, or the user who is authenticated.
    """

    event_class: EventClass
    activity: int = OTHER
    failed: bool = False
    entity: str = ""
    name: str = ""


def _managed(activity: int, entity: str, name: str, *, failed: bool = False) -> Mapped:
    return Mapped(ENTITY_MANAGEMENT, activity, failed, entity, name)


UNKNOWN = Mapped(BASE_EVENT)
"""What a record type is that is not known here."""

CLASSES: Mapping[str, Mapped] = MappingProxyType(
    {
        "access.intent": Mapped(API_ACTIVITY),
        "access.outcome": Mapped(API_ACTIVITY),
        "access.denied": Mapped(API_ACTIVITY, failed=True),
        "quota.exceeded": Mapped(API_ACTIVITY, failed=True),
        "access.denials_suppressed": Mapped(API_ACTIVITY, failed=True),
        "connection.refused": Mapped(AUTHENTICATION, 1, failed=True, name="principal"),
        "admin.request": Mapped(API_ACTIVITY),
        "admin.denials_suppressed": Mapped(API_ACTIVITY, failed=True),
        "trust_domain.created": _managed(1, "trust domain", "trust_domain"),
        "identity.issued": Mapped(AUTHENTICATION, name="agent"),
        "identity.delegated": Mapped(AUTHENTICATION, name="principal"),
        "identity.revoked": _managed(9, "identity", "subject"),
        "identity.revocation_lifted": _managed(8, "identity", "subject"),
        "identity.applied": _managed(3, "identities", "file_sha256"),
        "join_token.created": _managed(1, "join token", "node"),
        "federation.changed": _managed(3, "federated trust domain", "trust_domain"),
        "authority.prepared": _managed(1, "authority", "authority"),
        "authority.activated": _managed(10, "authority", "authority"),
        "authority.tainted": _managed(11, "authority", "authority"),
        "authority.revoked": _managed(9, "authority", "authority"),
        "authority.expired": _managed(4, "authority", "authority"),
        "authority.failed": _managed(OTHER, "authority", "authority", failed=True),
        "agent.registered": _managed(1, "agent", "agent"),
        "agent.updated": _managed(3, "agent", "agent"),
        "agent.status_changed": _managed(3, "agent", "agent"),
        "entry.created": _managed(1, "registration entry", "entry_id"),
        "entry.updated": _managed(3, "registration entry", "entry_id"),
        "entry.deleted": _managed(4, "registration entry", "entry_id"),
        "review.started": _managed(1, "access review", "review"),
        "review.decided": _managed(3, "access review", "review"),
        "review.closed": _managed(OTHER, "access review", "review"),
        "policy.activated": _managed(10, "policy revision", "bundle_digest"),
        "policy.activation_failed": _managed(10, "policy revision", "bundle_digest", failed=True),
        "policy.refused": _managed(10, "policy revision", "source", failed=True),
        "policy.shadow_started": _managed(OTHER, "policy revision", "bundle_digest"),
        "policy.shadow_stopped": _managed(OTHER, "policy revision", "bundle_digest"),
        "opa.decision": Mapped(API_ACTIVITY),
        "opa.status": UNKNOWN,
        "gateway.started": Mapped(APPLICATION_LIFECYCLE, 3),
        "gateway.stopped": Mapped(APPLICATION_LIFECYCLE, 4),
        "worker.exited": Mapped(APPLICATION_LIFECYCLE, 4, failed=True),
        "config.loaded": Mapped(APPLICATION_LIFECYCLE, 8),
        "config.refused": Mapped(APPLICATION_LIFECYCLE, 8, failed=True),
        "unsafe.option": Mapped(DETECTION_FINDING, 1),
        "secret.read": Mapped(API_ACTIVITY, 2),
        "secret.released": Mapped(API_ACTIVITY, 4),
        "secret.changed": Mapped(API_ACTIVITY, 3),
        "control.failed": Mapped(DETECTION_FINDING, 1),
        "control.recovered": Mapped(DETECTION_FINDING, 3),
        "gateway.counts": UNKNOWN,
        "gateway.hops": UNKNOWN,
        "secret.inventory": UNKNOWN,
        "identity.inventory": UNKNOWN,
        "object.read": Mapped(API_ACTIVITY, 2),
        "object.written": Mapped(API_ACTIVITY, 3),
        "pipeline.run": Mapped(API_ACTIVITY),
        "content.sealed": Mapped(API_ACTIVITY, 1),
        "content.access_requested": Mapped(API_ACTIVITY),
        "content.access_approved": Mapped(API_ACTIVITY),
        "content.opened": Mapped(API_ACTIVITY, 2),
        "content.searched": Mapped(API_ACTIVITY, 2),
        "content.erasing": Mapped(API_ACTIVITY, 4),
        "content.erased": Mapped(API_ACTIVITY, 4),
        "oversight.requested": _managed(1, "approval", "approval"),
        "oversight.approved": _managed(10, "approval", "approval"),
        "oversight.refused": _managed(9, "approval", "approval"),
        "oversight.used": _managed(4, "approval", "approval"),
        "oversight.overridden": _managed(OTHER, "call", "of"),
        "oversight.stopped": _managed(12, "AI system", "system"),
        "oversight.resumed": _managed(8, "AI system", "system"),
        "oversight.drilled": _managed(OTHER, "AI system", "system"),
        "incident.opened": Mapped(DETECTION_FINDING, 1),
        "incident.assessed": Mapped(DETECTION_FINDING, 2),
        "incident.reported": Mapped(DETECTION_FINDING, 2),
        "incident.closed": Mapped(DETECTION_FINDING, 3),
        "log.recovered": Mapped(DETECTION_FINDING, 1),
        "log.broken": Mapped(DETECTION_FINDING, 1),
        "log.checkpoint_key_created": _managed(1, "checkpoint key", "verifier_key"),
        "log.checkpoint_key_rotated": _managed(3, "checkpoint key", "verifier_key"),
        "log.sealed": _managed(OTHER, "log segment", "segment"),
        "log.segment_deleted": _managed(4, "log segment", "segment"),
        "log.legal_hold_set": _managed(1, "legal hold", "hold"),
        "log.legal_hold_lifted": _managed(4, "legal hold", "hold"),
        "clock.stepped": Mapped(DETECTION_FINDING, 1),
        "clock.status": UNKNOWN,
        "sink.failed": Mapped(DETECTION_FINDING, 1),
        "sink.recovered": Mapped(DETECTION_FINDING, 3),
        "sink.records_missed": Mapped(DETECTION_FINDING, 1),
        "sink.records_diverted": Mapped(DETECTION_FINDING, 1),
        "sink.restarted": Mapped(DETECTION_FINDING, 1),
        "evidence.committed": Mapped(API_ACTIVITY, 2),
        "evidence.exported": Mapped(API_ACTIVITY, 2),
        "evidence.refused": Mapped(API_ACTIVITY, 2),
    }
)
"""What each record type is."""
