"""What real OPA servers report: their decision logs and their status, put on record as theirs.

OPA drops events above its own limits and sends a batch again that was not acknowledged: what it reports is a witness's
account beside the gateway's records, never in their place. What OPA masked or erased stays so: an event is recorded as
it came. (www.openpolicyagent.org, decision log and status service API)
"""

import zlib
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request, Response

from audit.errors import AuditUnavailableError
from audit.log import AuditLog
from gateway.admin.access import AccessControl, Caller
from gateway.errors import MediaTypeError, RequestError, UnavailableError

MAX_BATCH_BYTES = 64 * 1024 * 1024
"""Largest batch, unpacked (bytes)."""

MAX_EVENTS = 10_000
"""Most events of a batch."""

MAX_EVENT_BYTES = 40_000
"""Room for the parts of an event or a status in its record; of one that finds none, the digest is recorded (bytes)."""

MAX_TEXT = 300
"""What is recorded of each text of an event (characters)."""

MAX_ID = 256
"""Longest decision id (characters)."""

MAX_STATUSES = 1000
"""OPA servers and partitions whose last status is remembered."""

REMEMBERED = 100_000
"""Decision ids by which a batch that is sent again is recognised."""

_EXACT = 2**53 - 1
_TEXTS = ("decision_id", "batch_decision_id", "trace_id", "path", "query", "requested_by", "timestamp", "revision")
_WHOLE = ("input", "result", "mapped_result", "nd_builtin_cache")


class OpaReports:
    """Takes decision logs and status of OPA servers into the audit log.

    Args:
        audit: the log.
    """

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._status: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    async def decisions(self, body: bytes, encoding: str, reporter: str, partition: str) -> int:
        """Record a batch; it is acknowledged only once every event is durable.

        Args:
            body: the batch: a JSON array, gzipped or not.
            encoding: Content-Encoding.
            reporter: SPIFFE ID of who reports.
            partition: name that the OPA gives its log, empty for none.

        Returns:
            how many events were new.

        Raises:
            RequestError: it is no batch.
            UnavailableError: the log takes no record; OPA sends the batch again.
        """
        events = _events(unpacked(body, encoding))
        fresh = [event for event in events if (reporter, event["decision_id"]) not in self._seen]
        try:
            entries = [
                self._audit.append(
                    "opa.decision", {"principal": reporter, "partition": partition[:MAX_TEXT], **_fields(event)}
                )
                for event in fresh
            ]
            for entry in entries:
                await entry.durable()
        except AuditUnavailableError as error:
            raise UnavailableError(str(error), code="audit_unavailable") from error
        for event in fresh:
            self._seen[reporter, event["decision_id"]] = None
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return len(fresh)

    async def status(self, body: bytes, encoding: str, reporter: str, partition: str) -> None:
        """Record what an OPA says of itself, where it says something new.

        Raises:
            RequestError: it is no status.
            UnavailableError: the log takes no record.
        """
        document = _json(unpacked(body, encoding))
        if not isinstance(document, dict):
            raise RequestError("A status is a JSON object.")
        fields = {
            "labels": document.get("labels", {}),
            "bundles": {
                name: {key: each[key] for key in ("active_revision", "code", "message", "errors") if each.get(key)}
                for name, each in _mappings(document.get("bundles")).items()
            },
            "plugins": {name: each.get("state", "") for name, each in _mappings(document.get("plugins")).items()},
        }
        recorded = fitted(fields)
        told = sha256(orjson.dumps(recorded, option=orjson.OPT_SORT_KEYS)).digest()
        if self._status.get((reporter, partition)) == told:
            return
        try:
            entry = self._audit.append(
                "opa.status", {"principal": reporter, "partition": partition[:MAX_TEXT], **recorded}
            )
            await entry.durable()
        except AuditUnavailableError as error:
            raise UnavailableError(str(error), code="audit_unavailable") from error
        self._status[reporter, partition] = told
        while len(self._status) > MAX_STATUSES:
            self._status.popitem(last=False)


def opa_routes(access: AccessControl, reports: OpaReports) -> APIRouter:
    """Return the routes, to be included under `/v1/policy`."""
    router = APIRouter(tags=["opa"])
    may_report = Depends(access.requires("admin.policy.report"))

    @router.post("/logs", summary="Decision logs of an OPA (admin.policy.report)", response_class=Response)
    @router.post("/logs/{partition}", include_in_schema=False, response_class=Response)
    async def logs(request: Request, caller: Annotated[Caller, may_report], partition: str = "") -> Response:
        encoding = request.headers.get("content-encoding", "")
        await reports.decisions(await request.body(), encoding, caller.peer.id, partition)
        return Response(status_code=200)

    @router.post("/status", summary="Status of an OPA (admin.policy.report)", response_class=Response)
    @router.post("/status/{partition}", include_in_schema=False, response_class=Response)
    async def status(request: Request, caller: Annotated[Caller, may_report], partition: str = "") -> Response:
        encoding = request.headers.get("content-encoding", "")
        await reports.status(await request.body(), encoding, caller.peer.id, partition)
        return Response(status_code=200)

    return router


def unpacked(body: bytes, encoding: str) -> bytes:
    """Return a body without its content coding, within the bound.

    Raises:
        MediaTypeError: another coding than gzip.
        RequestError: damaged, or larger than the bound.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip":
            pass
        case _:
            raise MediaTypeError(f"The content coding {encoding!r:.40} is not known.", remedy="Send gzip.")
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        content = decoder.decompress(body, MAX_BATCH_BYTES + 1)
    except zlib.error as error:
        raise RequestError(f"The body is not gzip: {error}.") from None
    if len(content) > MAX_BATCH_BYTES:
        raise RequestError(f"The batch has more than {MAX_BATCH_BYTES} bytes.", remedy="Send smaller batches.")
    if not decoder.eof or decoder.unused_data:
        raise RequestError("The body is not one whole gzip stream.")
    return content


def recordable(value: Any, depth: int = 0) -> Any:
    """Return a JSON value as a record may hold it: numbers that are no exact integers become text."""
    if depth > 64:
        return "(nested too deeply)"
    if isinstance(value, dict):
        return {str(key): recordable(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [recordable(item, depth + 1) for item in value]
    if isinstance(value, float) or (isinstance(value, int) and not -_EXACT <= value <= _EXACT):
        return repr(value)
    return value


def _events(content: bytes) -> list[dict[str, Any]]:
    batch = _json(content)
    if not isinstance(batch, list) or len(batch) > MAX_EVENTS:
        raise RequestError(f"A batch of decision logs is a JSON array of at most {MAX_EVENTS} events.")
    for event in batch:
        name = event.get("decision_id") if isinstance(event, dict) else None
        if not isinstance(name, str) or not 0 < len(name) <= MAX_ID:
            raise RequestError(
                f"An event of a decision log is an object with a decision_id of at most {MAX_ID} characters."
            )
    return batch


def _json(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except ValueError as error:
        raise RequestError(f"The body is not JSON: {error}.") from None


def _fields(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event as it is recorded."""
    fields: dict[str, Any] = {name: str(event[name])[:MAX_TEXT] for name in _TEXTS if event.get(name)}
    parts = {name: event.get(name) or {} for name in ("labels", "bundles")}
    parts |= {name: event[name] for name in ("masked", "erased", "error") if event.get(name)}
    parts |= {name: event[name] for name in _WHOLE if name in event}
    return fields | fitted(parts)


def fitted(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return JSON values as they are recorded: whole while there is room in the record, else as size and digest."""
    room = MAX_EVENT_BYTES
    recorded: dict[str, Any] = {}
    for name, value in parts.items():
        shown = recordable(value)
        content = orjson.dumps(shown, option=orjson.OPT_SORT_KEYS)
        if len(content) > room:
            shown = {"bytes": len(content), "sha256": sha256(content).hexdigest()}
        else:
            room -= len(content)
        recorded[name] = shown
    return recorded


def _mappings(value: Any) -> dict[str, Mapping[str, Any]]:
    """Return the objects of an object."""
    return {name: each for name, each in value.items() if isinstance(each, dict)} if isinstance(value, dict) else {}
