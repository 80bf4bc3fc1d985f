"""What a caller that means harm can make one connection cost. Spoken in HTTP/2 frames, which no client library sends."""

import asyncio
import struct
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import Event, PingAckReceived, ResponseReceived, StreamReset

from identity.workload_api import bounds, server
from identity.workload_api.messages import X509SVIDRequest
from identity.workload_api.server import WorkloadServer
from tests.support.certificates import CertificateAuthority
from tests.support.workload_source import DOMAIN, HandFilledSource, Noted, svid_of

HEADERS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/SpiffeWorkloadAPI/FetchX509SVID"),
    (":authority", "localhost"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
    ("workload.spiffe.io", "true"),
]
HEADERS_OF_VALIDATION = [(name, value.replace("FetchX509SVID", "ValidateJWTSVID")) for name, value in HEADERS]
NO_MESSAGE = b"\0\0\0\0\0"


class Client:
    """Speaks HTTP/2 by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self.http2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.http2.initiate_connection()

    def call(self, body: bytes = b"", *, end: bool = False) -> int:
        """Open a stream."""
        number = self.http2.get_next_available_stream_id()
        self.http2.send_headers(number, HEADERS)
        if body or end:
            self.http2.send_data(number, body, end_stream=end)
        return number

    async def flush(self) -> None:
        self.writer.write(self.http2.data_to_send())
        await self.writer.drain()

    async def until(self, kind: type[Event]) -> Event:
        """Return the next event of a kind."""
        async with asyncio.timeout(5):
            while True:
                await self.flush()
                data = await self._reader.read(65536)
                assert data, "the connection was closed"
                for event in self.http2.receive_data(data):
                    if isinstance(event, kind):
                        return event

    async def status(self) -> str:
        """Return the gRPC status of the next answer that has nothing else."""
        event = await self.until(ResponseReceived)
        assert isinstance(event, ResponseReceived)
        return dict(event.headers)["grpc-status"]

    async def alive(self) -> bool:
        """Say whether the connection still answers."""
        self.http2.ping(b"12345678")
        try:
            await self.until(PingAckReceived)
        except (AssertionError, OSError):
            return False
        return True


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[tuple[WorkloadServer, Noted, Path]]:
    authority = CertificateAuthority.root(DOMAIN, now=int(time.time()))
    source = HandFilledSource(authority, [svid_of(authority, f"spiffe://{DOMAIN}/web")], authority.bundle(DOMAIN))
    noted = Noted()
    running = WorkloadServer(tmp_path / "api.sock", source, noted)
    await running.start()
    yield running, noted, tmp_path / "api.sock"
    await running.close()


@pytest.fixture
async def client(serving: tuple[WorkloadServer, Noted, Path]) -> AsyncIterator[Client]:
    opened = Client(*await asyncio.open_unix_connection(serving[2]))
    yield opened
    opened.writer.close()


async def settled(running: WorkloadServer) -> int:
    for _ in range(100):
        if not running.streams:
            break
        await asyncio.sleep(0.02)
    return running.streams


async def test_a_request_that_announces_gigabytes_is_refused_before_they_are_read(client):
    client.call(b"\0" + struct.pack(">I", 1 << 31))
    assert await client.status() == "8"  # RESOURCE_EXHAUSTED
    assert await client.alive()


async def test_a_request_of_the_largest_size_is_read(client):
    # An unknown field may fill a message; it is left out when read.
    filling = bounds.MAX_MESSAGE_BYTES - 4
    message = b"\x7a" + bytes([filling & 127 | 128, filling >> 7 & 127 | 128, filling >> 14]) + b"x" * filling
    assert len(message) == bounds.MAX_MESSAGE_BYTES
    X509SVIDRequest.FromString(message)
    body = b"\0" + struct.pack(">I", len(message)) + message
    number = client.call()
    await client.flush()
    while body:
        size = min(client.http2.local_flow_control_window(number), 16_384)
        if size <= 0:
            await client.until(Event)
            continue
        client.http2.send_data(number, body[:size])
        body = body[size:]
    event = await client.until(ResponseReceived)
    assert isinstance(event, ResponseReceived)
    assert "grpc-status" not in dict(event.headers)


@pytest.mark.parametrize("body", [b"\0\0\0\0\x05ab", b"\0\0\0\0\x02\xff\xff"], ids=["cut off", "no message"])
async def test_a_request_that_is_no_message_is_an_invalid_argument(client, serving, body):
    number = client.http2.get_next_available_stream_id()
    client.http2.send_headers(number, HEADERS_OF_VALIDATION)
    client.http2.send_data(number, body, end_stream=True)
    assert await client.status() == "3"  # INVALID_ARGUMENT
    assert await settled(serving[0]) == 0


async def test_streams_that_are_opened_and_reset_at_once_leave_nothing_behind(client, serving):
    for _ in range(300):
        client.http2.reset_stream(client.call())
    assert await client.alive()
    assert await settled(serving[0]) == 0


async def test_a_connection_that_is_lost_leaves_no_streams_behind(client, serving):
    for _ in range(20):
        client.call(NO_MESSAGE, end=True)
    await client.until(ResponseReceived)
    assert serving[0].streams == 20
    client.writer.close()
    assert await settled(serving[0]) == 0


async def test_one_user_has_a_bounded_number_of_streams(client, serving, monkeypatch):
    monkeypatch.setattr(server, "STREAMS_PER_USER", 3)
    for _ in range(4):
        last = client.call(NO_MESSAGE, end=True)
    event = await client.until(StreamReset)
    assert isinstance(event, StreamReset)
    assert (event.stream_id, event.error_code) == (last, ErrorCodes.REFUSED_STREAM)
    assert serving[0].streams == 3
    assert [rule for rule, _ in serving[1].refusals] == ["streams"]


async def test_a_frame_of_an_unknown_type_is_left_out(client):
    await client.flush()
    client.writer.write(b"\0\0\x03\xef\0\0\0\0\0abc")
    assert await client.alive()  # answered before the frame is looked at
    assert await client.alive()


async def test_a_peer_that_asks_and_does_not_read_is_cut(client, serving, monkeypatch):
    monkeypatch.setattr(bounds, "MAX_UNSENT_BYTES", 100_000)
    await client.flush()
    ping = b"\0\0\x08\x06\0\0\0\0\0" + b"x" * 8
    with pytest.raises(OSError):  # noqa: PT011 - reset or broken pipe, as the kernel likes
        for _ in range(200):
            client.writer.write(ping * 1000)
            await asyncio.wait_for(client.writer.drain(), 5)
    assert [rule for rule, _ in serving[1].refusals] == ["unsent"]
