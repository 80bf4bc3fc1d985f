"""One TLS connection: bytes from the TCP transport to the HTTP protocol and back.

The TLS engine runs on memory buffers over the event loop's plain TCP transport, because the loop's own TLS
hides why a handshake failed, and a failed handshake is an event that operators and auditors ask about.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from gateway.listener.connections import NEVER, ConnectionTable
from gateway.listener.handshake import failure
from gateway.listener.peer import Peer, sent_chain
from gateway.listener.protocol import StrictHttpProtocol

LINGER_SECONDS = 2.0
"""How long a closed connection still takes in bytes, so that the client can read the last answer: closing a
socket with unread bytes would reset it (RFC 9112, section 9.6)."""

LINGER_BYTES = 4 * 1024 * 1024
"""How much such a client may still send."""

_RECORD = 16_384
"""Largest TLS record (RFC 8446, section 5.1); one read returns at most one."""

_HANDSHAKE, _OPEN, _LINGER, _CLOSED = range(4)

_log = logging.getLogger(__name__)


class TlsConnection(asyncio.Protocol, asyncio.Transport):
    """Protocol of the TCP transport below, transport of the HTTP protocol above.

    Back-pressure: everything written is encrypted and handed to the TCP transport at once; when that is full,
    `pause_writing` reaches the HTTP protocol and the clock of the write timeout starts. A client that closes
    its sending side is gone: half-closed connections are not served.
    """

    __slots__ = (
        "_close_began",
        "_discarded",
        "_http",
        "_identify",
        "_incoming",
        "_loop",
        "_make_http",
        "_outgoing",
        "_remote",
        "_state",
        "_table",
        "_tcp",
        "_tls",
        "deadline",
        "peer",
        "write_deadline",
    )

    def __init__(
        self,
        *,
        context: ssl.SSLContext,
        table: ConnectionTable,
        identify: Callable[[list[bytes]], Peer],
        make_http: Callable[[Peer], StrictHttpProtocol],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._table = table
        self._identify = identify
        self._make_http = make_http
        self._loop = loop
        self._state = _HANDSHAKE
        self._discarded = 0
        self._close_began = 0.0
        self._remote = ""
        self._http: StrictHttpProtocol | None = None
        self.peer: Peer | None = None
        self.deadline = NEVER
        self.write_deadline = NEVER

    # From the TCP transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._tcp = cast("asyncio.Transport", transport)
        address = transport.get_extra_info("peername")
        self._remote = f"{address[0]}:{address[1]}" if isinstance(address, tuple) else "a local socket"
        if not self._table.admit(self):
            self._report_failure("connections", "no room for another connection, not even to refuse it")
            self._state = _CLOSED
            self._tcp.abort()
            return
        self.deadline = self._loop.time() + self._table.limits.handshake_timeout_seconds

    def data_received(self, data: bytes) -> None:
        state = self._state
        if state == _OPEN:
            self._incoming.write(data)
            self._read()
        elif state == _HANDSHAKE:
            self._incoming.write(data)
            self._handshake()
        elif state == _LINGER:
            self._discarded += len(data)
            if self._discarded > LINGER_BYTES:
                self.abort()

    def eof_received(self) -> bool:
        if self._state == _HANDSHAKE:
            self._report_failure("handshake-aborted", "the caller closed the connection in the TLS handshake")
        self._client_left()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._state == _HANDSHAKE:
            self._report_failure("handshake-aborted", "the connection broke in the TLS handshake")
        self._client_left()
        self.deadline = self.write_deadline = NEVER
        if self._http is not None:
            self._http.connection_lost(exc)
            self._http = None
        self._table.gone(self)

    def pause_writing(self) -> None:
        self.write_deadline = self._loop.time() + self._table.limits.write_timeout_seconds
        if self._http is not None:
            self._http.pause_writing()

    def resume_writing(self) -> None:
        self.write_deadline = NEVER
        if self._http is not None:
            self._http.resume_writing()

    # From the HTTP protocol.

    def write(self, data: "bytes | bytearray | memoryview[int]") -> None:
        if self._state != _OPEN or not data:
            return
        try:
            self._tls.write(data)
        except ssl.SSLError:
            self.abort()
            return
        self._tcp.write(self._outgoing.read())

    def close(self) -> None:
        """Say goodbye (close_notify), stop sending, and wait for the client to do the same."""
        if self._state != _OPEN:
            return
        with suppress(ssl.SSLError):  # the client's own close_notify is not waited for
            self._tls.unwrap()
        self._linger()

    def abort(self) -> None:
        if self._state != _CLOSED:
            self._state = _CLOSED
            self._tcp.abort()

    def is_closing(self) -> bool:
        return self._state != _OPEN

    def pause_reading(self) -> None:
        self._tcp.pause_reading()

    def resume_reading(self) -> None:
        self._tcp.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "ssl_object":
            return self._tls
        if name == "sslcontext":
            return self._tls.context
        return self._tcp.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        return self._tcp.get_write_buffer_size()

    # From the connection table.

    def expire(self, now: float) -> None:
        if self._state == _HANDSHAKE:
            seconds = self._table.limits.handshake_timeout_seconds
            self._report_failure("handshake-timeout", f"the TLS handshake took longer than {seconds:g} seconds")
            self.abort()
        elif self._state == _LINGER:
            waited = now - self._close_began
            if self._tcp.get_write_buffer_size() and waited < self._table.limits.write_timeout_seconds:
                self.deadline = now + LINGER_SECONDS
            else:
                self.abort()
        elif self._http is not None and self._state == _OPEN:
            if self.write_deadline <= now:
                self._http.write_timed_out()
                self.abort()
            else:
                self._http.timed_out()
        else:
            self._tcp.abort()

    def retire(self) -> None:
        if self._http is not None:
            self._http.retire()
        elif self._state == _HANDSHAKE:
            self._state = _CLOSED
            self._tcp.abort()

    # Inside.

    def _handshake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except OSError as error:
            rule, detail = failure(error)
            self._report_failure(rule, detail)
            self._flush()  # the alert that tells the client
            self._linger()
            return
        self._flush()
        try:
            peer = self._identify(list(sent_chain(self._tls)))
        except Exception:  # a defect there must let nobody in
            _log.exception("verifying a peer failed")
            self._report_failure("verification-failed", "the peer's certificates could not be verified")
            self.abort()
            return
        self._state = _OPEN
        self.deadline = NEVER
        self.peer = peer
        self._http = self._make_http(peer)
        self._http.connection_made(self)
        if self._incoming.pending:
            self._read()

    def _read(self) -> None:
        tls, incoming = self._tls, self._incoming
        data = b""
        left = False
        try:
            data = tls.read(_RECORD)
            while data and (incoming.pending or tls.pending()):
                more = tls.read(_RECORD)
                if not more:
                    left = True
                    break
                data += more
            left = left or not data
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self._client_left()
            self._tcp.abort()
            return
        if self._outgoing.pending:
            self._flush()
        http = self._http
        if data and http is not None:
            http.data_received(data)
        if left and self._state == _OPEN:
            self._client_left()
            with suppress(ssl.SSLError):
                self._tls.unwrap()
            self._flush()
            self._tcp.close()

    def _client_left(self) -> None:
        if self._state in (_OPEN, _HANDSHAKE):
            self._state = _CLOSED
            self.deadline = self._loop.time() + LINGER_SECONDS
            if self._http is not None:
                self._http.eof_received()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self._tcp.write(data)

    def _linger(self) -> None:
        self._state = _LINGER
        self._flush()
        self._close_began = self._loop.time()
        self.deadline = self._close_began + LINGER_SECONDS
        if self._tcp.is_closing():
            return
        self._tcp.write_eof()

    def _report_failure(self, rule: str, cause: str) -> None:
        self._table.observer.handshake_failed(rule, f"{cause} (from {self._remote})")
