"""What the listener reports, as metrics and log events."""

import structlog

from audit.errors import AuditUnavailableError
from audit.log import AuditLog
from gateway.listener.peer import Peer
from gateway.telemetry import metrics

_log = structlog.get_logger("govgateway.listener")


class ListenerEvents:
    """Counts and logs the listener's events; those with a proven identity also go to the audit log."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self._connections = 0

    def handshake_failed(self, rule: str, detail: str) -> None:
        """A connection ended before its peer was known."""
        metrics.HANDSHAKE_FAILURES.labels(rule).inc()
        _log.info("handshake-refused", rule=rule, detail=detail)

    def connection_opened(self, peer: Peer) -> None:
        """A handshake ended."""
        self._connections += 1
        metrics.CONNECTIONS.set(self._connections)
        if peer.refusal is not None:
            metrics.HANDSHAKE_FAILURES.labels(peer.refusal.rule).inc()
        else:
            metrics.CONNECTIONS_ACCEPTED.inc()

    def connection_closed(self, peer: Peer) -> None:  # noqa: ARG002 - part of the observer's Protocol
        """An opened connection is gone."""
        self._connections -= 1
        metrics.CONNECTIONS.set(self._connections)

    def request_refused(self, rule: str, peer: Peer, detail: str) -> None:
        """The listener refused or cut a request on its own."""
        metrics.HTTP_REFUSALS.labels(rule).inc()
        _log.info("request-refused", rule=rule, principal=peer.id, detail=detail)
        if peer.identity is None:
            return
        try:
            self._audit.append(
                "connection.refused",
                {
                    "principal": peer.identity.id,
                    "decision": "deny",
                    "reasons": [rule],
                    "peer": {"serial": peer.identity.serial, "fingerprint": peer.identity.fingerprint},
                },
            )
        except AuditUnavailableError as error:
            # Nothing passes here that would need the record first: the request is refused already.
            _log.warning("audit-unavailable", detail=str(error))
