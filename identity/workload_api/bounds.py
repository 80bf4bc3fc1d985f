"""What one connection may cost: grpclib's HTTP/2 side with limits on messages, streams and unsent data.

The only module that reaches into grpclib's parts: a message's length is taken from the peer and not bounded there, a
stream that is opened and reset at once is never released, and a frame of an unknown type ends the connection.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

from google.protobuf.message import DecodeError
from grpclib import GRPCError, Status
from grpclib.config import Configuration
from grpclib.const import Handler as Method
from grpclib.encoding.proto import ProtoCodec
from grpclib.events import _DispatchServerEvents
from grpclib.protocol import AbstractHandler, Buffer, H2Protocol, Stream
from grpclib.server import Handler
from h2.config import H2Configuration
from h2.errors import ErrorCodes
from h2.events import UnknownFrameReceived

from identity.workload_api.messages import Message

MAX_MESSAGE_BYTES = 65_536
"""Longest request."""

MAX_UNSENT_BYTES = 8 * 1024 * 1024
"""What may wait for a peer that does not read; beyond it the connection is cut."""

_CONFIG = Configuration(
    http2_connection_window_size=1024 * 1024,
    http2_stream_window_size=MAX_MESSAGE_BYTES,
    _keepalive_time=300.0,
    _keepalive_timeout=60.0,
    _http2_max_pings_without_data=0,
).__for_server__()
_H2 = H2Configuration(client_side=False, header_encoding="ascii")

Refuse = Callable[[str, str], None]


class _Codec(ProtoCodec):
    def decode(self, data: bytes, message_type: type[Message]) -> Message:
        try:
            return super().decode(data, message_type)
        except DecodeError:
            raise GRPCError(Status.INVALID_ARGUMENT, "the request is not the message that the method takes") from None


class _BoundedBuffer(Buffer):
    async def read(self, size: int) -> bytes:
        if size > MAX_MESSAGE_BYTES:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, f"a request has at most {MAX_MESSAGE_BYTES} bytes")
        try:
            return await super().read(size)
        except AssertionError:
            raise GRPCError(Status.INVALID_ARGUMENT, "the request is cut off") from None


class _BoundedHandler(AbstractHandler):
    """Starts the methods; counts streams and lets go of each exactly once, however it ends."""

    def __init__(self, inner: Handler, opened: Callable[[], bool], closed: Callable[[], None]) -> None:
        self._inner = inner
        self._opened, self._closed = opened, closed
        self._releases: dict[Stream, Callable[[], None]] = {}

    def accept(self, stream: Stream, headers: list[tuple[str, str]], release_stream: Callable[[], None]) -> None:
        if not self._opened():
            stream.reset_nowait(ErrorCodes.REFUSED_STREAM)
            release_stream()
            return
        stream.buffer = _BoundedBuffer(partial(stream.connection.ack, cast(int, stream.id)))
        self._releases[stream] = release_stream
        self._inner.accept(stream, headers, partial(self._release, stream))

    def cancel(self, stream: Stream) -> None:
        self._inner.cancel(stream)
        self._release(stream)

    def close(self) -> None:
        self._inner.close()
        for stream in tuple(self._releases):
            self._closed()
            del self._releases[stream]

    def _release(self, stream: Stream) -> None:
        release = self._releases.pop(stream, None)
        if release is not None:
            self._closed()
            release()


class BoundedProtocol(H2Protocol):
    """One connection's HTTP/2 side."""

    def __init__(
        self, methods: Mapping[str, Method], opened: Callable[[], bool], closed: Callable[[], None], refuse: Refuse
    ) -> None:
        """Args: methods: by path. opened: counts a stream, or says there are too many. refuse: told of what is cut."""
        inner = Handler(dict(methods), _Codec(), None, _DispatchServerEvents())
        super().__init__(_BoundedHandler(inner, opened, closed), _CONFIG, _H2)
        self._refuse = refuse

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to speak HTTP/2."""
        super().connection_made(transport)
        self.processor.processors[UnknownFrameReceived] = _ignore
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Take in what came; whatever cannot be HTTP/2 of gRPC ends the connection."""
        try:
            super().data_received(data)
        except (ValueError, NotImplementedError, KeyError) as error:
            self._cut("protocol", f"a connection was cut: {type(error).__name__} in its HTTP/2")
            return
        if self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self._cut("unsent", "a connection was cut: its peer asks and does not read")

    def _cut(self, rule: str, detail: str) -> None:
        self._refuse(rule, detail)
        self._transport.abort()


def _ignore(_event: Any) -> None:
    """Leave out a frame of a type that is not known, as RFC 9113, section 4.1, asks."""
