"""What the control process does for the audit log: its tree signed, witnessed, stamped and copied, the SIEM fed."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from audit.errors import AuditUnavailableError
from audit.log import AuditLog
from gateway import app
from gateway.clock_watch import ClockWatch
from gateway.config.model import GatewayConfig

if TYPE_CHECKING:
    from gateway.audit_sinks import AuditSinks


class AuditServices:
    """Everything that works on the log beside its writers.

    Attributes:
        tree: the signed tree.
    """

    def __init__(self, config: GatewayConfig) -> None:
        """Open the tree and what is configured around it.

        Raises:
            ConfigError: something that is configured cannot be used.
            AuditStoreError: the log is not the one that was taken into the tree, or cannot be opened.
        """
        self._config = config
        self.tree, self._keys_made = app.open_audit_tree(config)
        self._anchors = app.open_audit_anchors(config)
        self._sinks: AuditSinks | None = None
        self._clock = ClockWatch()

    async def begin(self) -> None:
        """Compare the log with what witnesses and keepers have of it, before anything is added to it.

        Raises:
            AuditBrokenError: one of them has seen more of it, or another log in its place.
            ConfigError: a keeper cannot do what is asked of it.
        """
        await self.tree.begin()
        if self._anchors is not None:
            await self._anchors.begin()

    def record_start(self, audit: AuditLog) -> None:
        """Put on record what began with this start."""
        for key in self._keys_made:
            audit.append("log.checkpoint_key_created", {"verifier_key": key})

    def start(self, audit: AuditLog) -> list[Coroutine[Any, Any, None]]:
        """Start feeding the sinks; return what has to run until the gateway ends.

        Raises:
            CursorError: another process feeds one of them.
        """
        if self._config.audit.sinks:
            from gateway.audit_sinks import AuditSinks  # noqa: PLC0415 - its clients are loaded only where they are used

            self._sinks = AuditSinks(self._config, audit)
            self._sinks.start()
        work = [self.tree.run(audit)]
        if self._anchors is not None:
            work.append(self._anchors.run(audit))
        return work

    def tend(self, audit: AuditLog) -> None:
        """Look after the clock and the metrics. Call now and then."""
        news = self._clock.news()
        if news is not None:
            with contextlib.suppress(AuditUnavailableError):
                audit.append("clock.status", news)
        if self._sinks is not None:
            self._sinks.measure()

    def problems(self) -> dict[str, str]:
        """Return why the gateway is not ready on account of the log, part by part; empty texts while it is."""
        found = {"audit.tree": self.tree.problem}
        if self._anchors is not None:
            found["audit.anchors"] = self._anchors.problem
        return found

    async def stop_sinks(self) -> None:
        """Stop feeding the sinks: while the log can still take what they report."""
        if self._sinks is not None:
            await asyncio.to_thread(self._sinks.stop)

    async def close(self) -> None:
        """Sign what was written last. Call when nothing is written any more."""
        await self.tree.close()
