"""Opens sealed content for a person: permission, reason, a second person if asked for, and a record before anything.

The rule of two people: one asks, another approves, the one who asked opens, once, before the request expires. It binds
whoever goes through this door. Who holds both the wrapping key and the store needs no door; keep them apart.
"""

import hmac
import unicodedata
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from audit.canonical import canonical
from audit.event_id import uuid7
from audit.sealing.errors import AccessRefusedError, ContentMissingError
from audit.sealing.sealer import Sealer
from audit.sealing.store import AccessRequest, ContentStore

Record = Callable[[str, dict[str, Any]], object]
"""Writes a record of a type with these fields; returns once it is durable, and raises if it will not be."""


@dataclass(frozen=True, slots=True)
class Revealed:
    """Content that was opened, with what shows to others that it is what the log committed to (hex)."""

    content: bytes
    salt: str
    commitment: str
    approved_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AccessRules:
    """Who may open sealed content.

    Attributes:
        readers: who may open it; nobody, if empty.
        approvers: who may approve somebody else's request; the readers, if empty.
        two_people: whether a second person has to approve.
        valid_seconds: how long a request stands.
    """

    readers: Collection[str] = ()
    approvers: Collection[str] = ()
    two_people: bool = False
    valid_seconds: int = 3600


class ContentAccess:
    """The door to sealed content.

    Args:
        sealer: opens what is let through.
        rules: who may.
        record: writes to the audit log.
        request_key: 32 bytes; an approval that was written into the store without it does not count.
        clock: UNIX time in nanoseconds.
    """

    def __init__(
        self, sealer: Sealer, rules: AccessRules, record: Record, request_key: bytes, clock: Callable[[], int]
    ) -> None:
        self._sealer = sealer
        self._store: ContentStore = sealer.store
        self._rules = rules
        self._record = record
        self._key = request_key
        self._clock = clock

    def request(self, event_id: str, part: str, reader: str, reason: str) -> AccessRequest:
        """Ask to open one item; somebody else has to approve it.

        Raises:
            AccessRefusedError: this person may not open content, or gives no reason.
            ContentMissingError: there is no such item.
        """
        self._check(reader, reason)
        if self._store.item(event_id, part) is None:
            raise ContentMissingError(f"no {part} of {event_id} is sealed here")
        expires = self._clock() + self._rules.valid_seconds * 1_000_000_000
        request = AccessRequest(uuid7(), event_id, part, reader, reason.strip(), expires)
        request = replace(request, mac=self._mac(request))
        self._record(
            "content.access_requested",
            {"principal": reader, "request": request.request_id, "of": event_id, "part": part, "cause": request.reason},
        )
        self._store.add_request(request)
        return request

    def approve(self, request_id: str, approver: str) -> AccessRequest:
        """Approve somebody else's request.

        Raises:
            AccessRefusedError: this person may not approve it, or it stands no more.
        """
        request = self._standing(request_id)
        if not _listed(approver, self._rules.approvers or self._rules.readers):
            raise AccessRefusedError(f"{approver} may not approve that sealed content is opened")
        if person(approver) == person(request.requester):
            raise AccessRefusedError(f"{approver} asked for it; another person has to approve it")
        if request.approver:
            raise AccessRefusedError(f"the request {request_id} was approved by {request.approver} already")
        approved = replace(request, approver=approver)
        approved = replace(approved, mac=self._mac(approved))
        self._record(
            "content.access_approved",
            {
                "principal": approver,
                "request": request_id,
                "of": request.event_id,
                "part": request.part,
                "requested_by": request.requester,
            },
        )
        if not self._store.approve_request(approved):
            raise AccessRefusedError(f"the request {request_id} was approved by another at the same moment")
        return approved

    def open_content(self, event_id: str, part: str, reader: str, reason: str, request_id: str = "") -> Revealed:
        """Open one item for a person. That it was opened is durable in the log before this returns the content.

        Args:
            event_id: event id of the call.
            part: `request`, `response` or `identifiers`.
            reader: who wants to see it.
            reason: why.
            request_id: the approved request, where a second person is asked for.

        Raises:
            AccessRefusedError: this person may not, gives no reason, or lacks a standing approval.
            ContentMissingError, ContentErasedError, SealBrokenError: it cannot be opened.
            AuditError: the record cannot be written; nothing is shown, and the request is used up.
        """
        self._check(reader, reason)
        request = self._approved(request_id, event_id, part, reader) if self._rules.two_people else None
        item, opened = self._sealer.open(event_id, part)
        fields: dict[str, Any] = {
            "principal": reader,
            "of": event_id,
            "part": part,
            "content": item.item_id,
            "key": item.key_id,
            "cause": reason.strip(),
            "approved_by": [],
        }
        if request is not None:
            if not self._store.use_request(request.request_id, self._clock()):
                raise AccessRefusedError(f"the request {request_id} was used already; it is good for one opening")
            fields |= {"approved_by": [request.approver], "request": request.request_id}
        self._record("content.opened", fields)
        return Revealed(opened.content, opened.salt.hex(), opened.commitment, tuple(fields["approved_by"]))

    def _check(self, reader: str, reason: str) -> None:
        if not _listed(reader, self._rules.readers):
            raise AccessRefusedError(f"{reader} may not open sealed content; audit.sealing.readers lists who may")
        if not any(unicodedata.category(each)[0] in "LNPS" for each in reason):
            raise AccessRefusedError("opening sealed content needs a reason")

    def _approved(self, request_id: str, event_id: str, part: str, reader: str) -> AccessRequest:
        if not request_id:
            raise AccessRefusedError("two people are needed: ask with a request, and let another person approve it")
        request = self._standing(request_id)
        if (request.event_id, request.part) != (event_id, part):
            raise AccessRefusedError(f"the request {request_id} is for the {request.part} of {request.event_id}")
        if person(request.requester) != person(reader):
            raise AccessRefusedError(f"the request {request_id} is {request.requester}'s")
        if not request.approver:
            raise AccessRefusedError(f"nobody approved the request {request_id} yet")
        # Asked again, not only when it was approved: permissions and names may have changed since.
        if not _listed(request.approver, self._rules.approvers or self._rules.readers):
            raise AccessRefusedError(f"{request.approver}, who approved it, may not do so any more")
        if person(request.approver) == person(request.requester):
            raise AccessRefusedError("a request is approved by another person than the one who asked")
        return request

    def _standing(self, request_id: str) -> AccessRequest:
        request = self._store.request(request_id)
        if request is None or not hmac.compare_digest(request.mac, self._mac(request)):
            raise AccessRefusedError(f"there is no request {request_id}, or it was changed in the store")
        if request.used_ns:
            raise AccessRefusedError(f"the request {request_id} was used already; it is good for one opening")
        if self._clock() >= request.expires_ns:
            raise AccessRefusedError(f"the request {request_id} has expired; ask anew")
        return request

    def _mac(self, request: AccessRequest) -> str:
        document = {
            "approver": request.approver,
            "event_id": request.event_id,
            "expires": str(request.expires_ns),
            "log": self._store.log,
            "part": request.part,
            "reason": request.reason,
            "request": request.request_id,
            "requester": request.requester,
        }
        return hmac.new(self._key, b"govgateway access request v1\0" + canonical(document), sha256).hexdigest()


def person(name: str) -> str:
    """Return a name as it counts: nobody is a second person by spelling themselves otherwise."""
    shown = (each for each in unicodedata.normalize("NFKC", name) if each == " " or each.isprintable())
    return " ".join("".join(shown).casefold().split())


def _listed(name: str, names: Collection[str]) -> bool:
    return person(name) in {person(each) for each in names}
