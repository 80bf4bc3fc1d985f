"""The sinks of this gateway: copies of its audit log for a SIEM, fed from the control process."""

import asyncio
import socket

from audit.log import AuditLog
from audit.sinks.base import SinkEvent
from audit.sinks.formats import Origin
from audit.sinks.opening import DIRECTORY, Surroundings, open_followers
from gateway import __version__, app
from gateway.clock import system_clock
from gateway.config.model import GatewayConfig
from gateway.secrets.opening import secret_store
from gateway.telemetry import metrics

REPORT_SECONDS = 30.0
"""How long a sink's thread waits for its report to be on disk (seconds)."""


class AuditSinks:
    """Feeds every sink of the configuration. Make it on the event loop."""

    def __init__(self, config: GatewayConfig, audit: AuditLog) -> None:
        """Open the cursors.

        Raises:
            CursorError: another process feeds one of the sinks, or their directory cannot be written.
        """
        self._audit = audit
        self._loop = asyncio.get_running_loop()
        references = secret_store(config)
        self._followers = open_followers(
            config.audit.sinks,
            Surroundings(
                store=app.open_audit_store(config),
                directory=config.audit_dir / DIRECTORY,
                origin=Origin(__version__, socket.gethostname()),
                resolve=lambda reference: references.read(reference).reveal(),
                report=self._report,
                clock=system_clock,
            ),
        )

    def start(self) -> None:
        """Start the threads."""
        for follower in self._followers:
            follower.start()

    def measure(self) -> None:
        """Move the state of the sinks into the metrics."""
        for follower in self._followers:
            metrics.AUDIT_SINK_LAG.labels(follower.name).set(follower.lag_records)
            metrics.AUDIT_SINK_HEALTHY.labels(follower.name).set(0 if follower.failed else 1)

    def stop(self) -> None:
        """Stop the threads; blocks until they are through with what they have in hand."""
        for follower in self._followers:
            follower.stop()

    def _report(self, event: SinkEvent) -> None:
        """Put an event on record; called in a sink's thread."""

        async def record() -> None:
            await self._audit.append(event.type, event.fields()).durable()

        asyncio.run_coroutine_threadsafe(record(), self._loop).result(REPORT_SECONDS)
