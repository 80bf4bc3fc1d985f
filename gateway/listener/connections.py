"""The open connections of one worker: who may still come in, and who has had its time."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Protocol

from gateway.config.model import ListenerLimits
from gateway.errors import TooManyConnectionsError
from gateway.listener.observer import ListenerObserver
from gateway.listener.peer import Peer

OVERFLOW = 64
"""Connections above the bound that are still answered (503); beyond them they are cut unanswered."""

BODY_MEMORY_BYTES = 256 * 1024 * 1024
"""Bytes of incomplete request bodies one worker holds; beyond them bodies are refused until some are gone."""

BODY_SHARE_BYTES = BODY_MEMORY_BYTES // 4
"""How much of it one identity may take."""

NEVER = float("inf")


class Connection(Protocol):
    """What the table knows of a connection.

    Attributes:
        deadline: when `expire` is due, on the loop's clock (seconds).
        write_deadline: the same for an answer that the client does not read.
    """

    deadline: float
    write_deadline: float

    @property
    def peer(self) -> Peer | None:
        """Who it is; None until the handshake has ended."""

    def expire(self, now: float) -> None:
        """End what has taken too long, or set a new deadline."""

    def retire(self) -> None:
        """Close once the request under way, if any, is answered."""

    def abort(self) -> None:
        """Cut at once."""


class ConnectionTable:
    """Admits, counts and times out the connections of one listener.

    One timer serves all connections, so that a request costs an attribute and no timer of its own.

    Attributes:
        date: the current `Date` header line, made once a second.
        draining: True once no further request is to be taken.
        body_bytes: held of request bodies that are not complete.
    """

    def __init__(self, limits: ListenerLimits, observer: ListenerObserver, clock: Callable[[], int]) -> None:
        self.limits = limits
        self.observer = observer
        self.clock = clock
        self.date = b""
        self.draining = False
        self.body_bytes = 0
        self._open: set[Connection] = set()
        self._per_identity: Counter[str] = Counter()
        self._bodies: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self._second = -1
        shortest = min(
            limits.handshake_timeout_seconds,
            limits.header_timeout_seconds,
            limits.body_timeout_seconds,
            limits.idle_timeout_seconds,
            limits.write_timeout_seconds,
        )
        self._tick_seconds = min(0.5, max(0.02, shortest / 8))

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._open))

    def admit(self, connection: Connection) -> bool:
        """Take a new TCP connection; False if it must be cut unanswered."""
        if self.draining or len(self._open) >= self.limits.connections + OVERFLOW:
            return False
        self._open.add(connection)
        self._empty.clear()
        return True

    def identified(self, peer: Peer) -> TooManyConnectionsError | None:
        """Count a connection whose handshake has ended; return what refuses its first request, if anything."""
        held = 0
        if _counted(peer):
            self._per_identity[peer.id] += 1
            held = self._per_identity[peer.id]
        self.observer.connection_opened(peer)
        if len(self._open) > self.limits.connections:
            return TooManyConnectionsError(
                f"This worker already has {self.limits.connections} open connections.",
                remedy="Try again later, and keep connections alive instead of opening new ones.",
                code="connections",
                headers=((b"retry-after", b"1"),),
            )
        if held > self.limits.connections_per_identity:
            return TooManyConnectionsError(
                f"{peer.id or 'Callers without a certificate'}: {self.limits.connections_per_identity} connections "
                "are open already.",
                remedy="Share connections within the process, and close those that are not used.",
                code="connections-per-identity",
                headers=((b"retry-after", b"1"),),
            )
        return None

    def gone(self, connection: Connection) -> None:
        """Forget a connection whose TCP connection is closed."""
        self._open.discard(connection)
        if not self._open:
            self._empty.set()
        peer = connection.peer
        if peer is None:
            return
        if _counted(peer):
            self._per_identity[peer.id] -= 1
            if not self._per_identity[peer.id]:
                del self._per_identity[peer.id]
        self.observer.connection_closed(peer)

    def hold_body(self, peer_id: str, size: int) -> bool:
        """Count bytes of an incomplete body; False if its identity, or all together, hold too many."""
        self.body_bytes += size
        self._bodies[peer_id] += size
        return self.body_bytes <= BODY_MEMORY_BYTES and self._bodies[peer_id] <= BODY_SHARE_BYTES

    def drop_body(self, peer_id: str, size: int) -> None:
        """Give bytes back that were counted."""
        self.body_bytes -= size
        self._bodies[peer_id] -= size
        if not self._bodies[peer_id]:
            del self._bodies[peer_id]

    async def empty(self) -> None:
        """Wait until no connection is open."""
        await self._empty.wait()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the one timer."""
        self._sweep(loop)

    def stop(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(self._tick_seconds, self._sweep, loop)
        second = self.clock() // 1_000_000_000
        if second != self._second:
            self._second = second
            self.date = b"date: %b\r\n" % formatdate(second, usegmt=True).encode("ascii")
        now = loop.time()
        late = [c for c in self._open if c.deadline <= now or c.write_deadline <= now]
        for connection in late:
            connection.expire(now)


def _counted(peer: Peer) -> bool:
    """Whether a bound of its own holds for a peer: each identity has one, and so have all without a certificate."""
    return peer.refusal is None or peer.refusal.rule == "no-certificate"
