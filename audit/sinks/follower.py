"""Keeps one sink fed, in a thread of its own: tries again what fails, later and later, and says how it stands.

Nothing here is waited for by whoever writes the log: the thread reads what is durable, at its own pace.
"""

import logging
import random
import threading
import time
from collections.abc import Callable

from audit.errors import AuditError
from audit.sinks.base import Report, Sink, SinkEvent, SinkFailed, SinkRecovered
from audit.sinks.cursor import CursorFile
from audit.sinks.dead_letters import DeadLetters
from audit.sinks.errors import SinkUnavailableError
from audit.sinks.forwarding import Following, Forwarding
from audit.store.base import AuditStore

_log = logging.getLogger(__name__)

LONGEST_CAUSE = 2000
"""Characters of a cause that are put on record."""


class Follower:
    """Feeds one sink.

    Args:
        name: name of the sink.
        store: the chains.
        sink: where to.
        cursor: how far it came.
        report: puts events on record.
        clock: UNIX time in nanoseconds.
        following: how.
        dead_letters: keeps what the receiver refuses; None: a refused record stops its chain.
        monotonic: seconds, for waits.

    Attributes:
        name: name of the sink.
        failed: whether it is failing.
        cause: why, in words; empty while it is not.
    """

    def __init__(
        self,
        name: str,
        store: AuditStore,
        sink: Sink,
        cursor: CursorFile,
        report: Report,
        *,
        clock: Callable[[], int],
        following: Following | None = None,
        dead_letters: DeadLetters | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.failed = False
        self.cause = ""
        self._following = following or Following()
        self._forwarding = Forwarding(name, store, sink, cursor, report, self._following, dead_letters, monotonic)
        self._sink, self._cursor, self._report = sink, cursor, report
        self._clock, self._monotonic = clock, monotonic
        self._failures = 0
        self._failing_since: float | None = None
        self._told = False
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def sent_records(self) -> int:
        """Records sent since the start, repetitions included."""
        return self._forwarding.sent_records

    @property
    def diverted_records(self) -> int:
        """Records that went to the dead letters since the start."""
        return self._forwarding.diverted_records

    @property
    def missed_records(self) -> int:
        """Records that were gone before they could be sent, since the start."""
        return self._forwarding.missed_records

    @property
    def lag_records(self) -> int:
        """Records that wait, as of the last attempt."""
        return sum(behind for behind, _ in self._forwarding.waiting.copy().values())

    @property
    def lag_seconds(self) -> float:
        """Age of the oldest record that waits (seconds); 0 if none does."""
        oldest = min((time_ns for _, time_ns in self._forwarding.waiting.copy().values()), default=None)
        return 0.0 if oldest is None else max(0.0, (self._clock() - oldest) / 1e9)

    @property
    def places(self) -> dict[str, int]:
        """The next record of each chain, as on disk."""
        return {chain: place.next for chain, place in self._cursor.places.items()}

    def start(self) -> None:
        """Begin in a thread."""
        self._thread = threading.Thread(target=self._run, name=f"sink-{self.name}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look for new records now."""
        self._wake.set()

    def stop(self, timeout: float = 10.0) -> bool:
        """End the thread once the batch under way is done with; return whether it ended within `timeout` seconds.

        One that did not is waiting for its receiver, and ends with the process: what it sends is sent again.
        """
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)
            return not self._thread.is_alive()
        self._close()
        return True

    def attempt(self) -> float:
        """Send one batch of each chain, as far as it goes; return how long to wait before the next time (seconds)."""
        retry_after = 0.0
        more, failure = False, ""
        try:
            more = self._forwarding.forward(self._stopping.is_set)
        except SinkUnavailableError as error:
            failure, retry_after = str(error), error.retry_after or 0.0
        except AuditError as error:
            failure = str(error)
        except Exception as error:
            _log.exception("the sink %s failed unexpectedly", self.name)
            failure = f"it failed unexpectedly: {error!r}"
        self._failures = self._failures + 1 if failure else 0
        self._settle(failure or "; ".join(self._forwarding.refusals))
        if failure:
            return max(self._following.back_off(self._failures), min(retry_after, self._following.retry_seconds[1]))
        return 0.0 if more else self._following.poll_seconds * random.uniform(0.8, 1.2)  # noqa: S311 - jitter

    def _run(self) -> None:
        while not self._stopping.is_set():
            delay = self.attempt()
            # New records are no reason to hurry a receiver that fails.
            (self._stopping if self._failures else self._wake).wait(delay)
            self._wake.clear()
        self._close()

    def _close(self) -> None:
        self._sink.close()
        self._cursor.close()

    def _settle(self, cause: str) -> None:
        """Take note of how an attempt ended, and report a change."""
        self.failed, self.cause = bool(cause), cause
        if not cause:
            self._failing_since = None
            if self._told and self._tell(SinkRecovered(self.name, self.lag_records)):
                self._told = False
            return
        now = self._monotonic()
        if self._failing_since is None:
            self._failing_since = now
        # A refusal will not pass by itself; anything else may.
        due = self._forwarding.refusals or now - self._failing_since >= self._following.patience_seconds
        if due and not self._told and self._tell(SinkFailed(self.name, cause[:LONGEST_CAUSE])):
            self._told = True

    def _tell(self, event: SinkEvent) -> bool:
        """Report an event that nothing depends on; one that cannot be written now is reported after a later attempt."""
        try:
            self._report(event)
        except Exception as error:
            _log.warning("the sink %s cannot report %s: %s", self.name, event.type, error)
            return False
        return True
