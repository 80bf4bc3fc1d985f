"""Syslog over TLS (RFC 5425): one connection a batch, ended so that the receiver shows that it read everything.

Syslog has no acknowledgments. What has one is the end of a TLS connection: the receiver answers a close_notify with its
own (RFC 5425, section 4.4), and it comes to read ours only after all that was sent before. So a batch counts as taken
once that answer is there.

Some receivers just close the TCP connection instead. That counts too, if their system has confirmed every byte and is
still on speaking terms: one that closes a connection with data unread, or is sent data after it closed, resets it. What
a receiver loses of what it has read, nobody notices.
"""

import fcntl
import socket
import ssl
import struct
import termios
import time
from collections.abc import Callable, Sequence

from audit.sinks.encoding import Encode, encoded
from audit.sinks.errors import SinkUnavailableError
from audit.sinks.formats import Origin
from audit.sinks.http import tls_context
from audit.sinks.settings import SyslogSettings
from audit.sinks.syslog import frame, message
from audit.store.base import StoredRecord

_LOOK_SECONDS = 0.005
_CLOSE_WAIT = 8
"""State of a connection that the other side closed in order (tcp(7), TCP_INFO)."""


class SyslogSink:
    """Sends to a syslog receiver.

    Args:
        settings: where to and how.
        encode: makes the content of a message of a record.
        origin: where records come from.
        monotonic: seconds, for the time a batch may take.
    """

    def __init__(
        self,
        settings: SyslogSettings,
        encode: Encode,
        origin: Origin,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._encode = lambda record: frame(message(record, encode(record), origin))
        self._monotonic = monotonic
        self._shown = f"{settings.host}:{settings.port}"

    def send(self, batch: Sequence[StoredRecord]) -> None:
        """Hand over records of one chain, as `audit.sinks.base.Sink` says."""
        data = b"".join(encoded(batch, self._encode))
        context = tls_context(self._settings.tls)
        # In TLS 1.3 the client is done before the receiver has judged its certificate, and one that then closes without
        # a word has perhaps refused it. In 1.2 the handshake ends with the receiver's word.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        deadline = self._monotonic() + self._settings.timeout_seconds
        address = (self._settings.host, self._settings.port)
        try:
            with (
                socket.create_connection(address, timeout=self._left(deadline)) as plain,
                context.wrap_socket(plain, server_hostname=self._settings.host) as connection,
            ):
                self._write(connection, data, deadline)
                self._end(connection, deadline)
        except TimeoutError as error:
            raise SinkUnavailableError(
                f"{self._shown} did not read everything within {self._settings.timeout_seconds:g} seconds"
            ) from error
        except (OSError, ValueError) as error:  # ssl.SSLError is one; a host name that is none is a ValueError
            raise SinkUnavailableError(f"{self._shown} cannot be reached, or left: {error}") from error

    def close(self) -> None:
        """Nothing is kept between two batches."""

    def _write(self, connection: ssl.SSLSocket, data: bytes, deadline: float) -> None:
        rest = memoryview(data)
        while rest:
            connection.settimeout(self._left(deadline))
            rest = rest[connection.send(rest) :]

    def _end(self, connection: ssl.SSLSocket, deadline: float) -> None:
        """Say that this is all, and wait until the receiver has come to read that."""
        connection.settimeout(self._left(deadline))
        try:
            connection.unwrap().close()
        except ssl.SSLEOFError as error:
            while _unconfirmed(connection):
                time.sleep(min(_LOOK_SECONDS, self._left(deadline)))
            if connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _CLOSE_WAIT:
                raise ConnectionResetError("it closed the connection before it had read everything") from error

    def _left(self, deadline: float) -> float:
        left = deadline - self._monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def _unconfirmed(connection: socket.socket) -> int:
    """Return how many bytes the other side's system has not confirmed (tcp(7), SIOCOUTQ); 0 after a reset."""
    if connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _CLOSE_WAIT:
        return 0
    (waiting,) = struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0\0\0\0"))
    return int(waiting)
