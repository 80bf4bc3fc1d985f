"""OpenTelemetry logs: OTLP over HTTP, in the JSON form of its protobuf messages (OTLP 1.x)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from audit.events.base import Severity
from audit.sinks.credentials import Credential, authorization
from audit.sinks.encoding import encoded
from audit.sinks.errors import SinkRefusedError, SinkUnavailableError
from audit.sinks.formats import Origin
from audit.sinks.formats.documents import document, severity
from audit.sinks.http import HttpTransport
from audit.sinks.settings import OtlpSettings
from audit.store.base import StoredRecord

PATH = "/v1/logs"

_SEVERITY: Mapping[Severity, int] = {"informational": 9, "low": 10, "medium": 13, "high": 17, "critical": 21}
"""INFO, INFO2, WARN, ERROR and FATAL."""

_NAMED = ("principal", "action", "system", "decision", "result")
"""Fields of a record that become attributes where they are texts."""

_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")


class OtlpSink:
    """Sends to an OpenTelemetry collector.

    Args:
        settings: where to and how.
        origin: where records come from.
        token: the bearer token; None for none.
    """

    def __init__(self, settings: OtlpSettings, origin: Origin, token: Credential | None) -> None:
        self._token = token
        self._origin = origin
        self._transport = HttpTransport(settings.url, settings.tls, settings.timeout_seconds)

    def send(self, batch: Sequence[StoredRecord]) -> None:
        """Hand over records of one chain, as `audit.sinks.base.Sink` says."""
        headers = {"content-type": "application/json"}
        if self._token is not None:
            headers["authorization"] = authorization("Bearer", self._token)
        answer = self._transport.post(PATH, export_request(batch, self._origin), headers)
        answer.check()
        partial = answer.json().get("partialSuccess") or {}
        try:
            rejected = int(partial.get("rejectedLogRecords", 0))
        except (AttributeError, TypeError, ValueError) as error:
            raise SinkUnavailableError(f"{answer.shown()}, which is not what such a receiver says") from error
        if rejected:
            raise SinkRefusedError(f"{answer.host} rejects {rejected} log records: {partial.get('errorMessage', '')}")

    def close(self) -> None:
        """Give back the connections."""
        self._transport.close()


def export_request(batch: Sequence[StoredRecord], origin: Origin) -> bytes:
    """Return records as an ExportLogsServiceRequest.

    Raises:
        SinkRefusedError: one has no such form.
    """
    resource = {
        "service.name": "govgateway",
        "service.version": origin.version,
        "host.name": origin.host,
    }
    logs = [orjson.Fragment(content) for content in encoded(batch, _log_record)]
    scope = {"name": "govgateway.audit", "version": origin.version}
    return orjson.dumps(
        {
            "resourceLogs": [
                {
                    "resource": {"attributes": _attributes(resource)},
                    "scopeLogs": [{"scope": scope, "logRecords": logs}],
                }
            ]
        }
    )


def _log_record(record: StoredRecord) -> bytes:
    """Return one LogRecord. Its body is the record as it is in the log: what its hash is computed of."""
    fields = document(record)
    level = severity(record.type)
    named = {f"audit.{name}": value for name in _NAMED if isinstance(value := fields.get(name), str) and value}
    log_record = {
        "timeUnixNano": str(record.time_ns),
        "observedTimeUnixNano": str(record.time_ns),
        "severityNumber": _SEVERITY[level],
        "severityText": level,
        "eventName": record.type,
        "body": {"stringValue": record.record.decode()},
        "attributes": [
            *_attributes(
                {
                    "audit.log": str(fields.get("log", "")),
                    "audit.chain": record.chain,
                    "audit.event_id": record.event_id,
                    "audit.hash": record.hash,
                    **named,
                }
            ),
            {"key": "audit.seq", "value": {"intValue": str(record.sequence)}},
        ],
    }
    trace_id = fields.get("trace_id")
    if isinstance(trace_id, str) and _TRACE_ID.fullmatch(trace_id):
        log_record["traceId"] = trace_id
    return orjson.dumps(log_record)


def _attributes(values: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]
