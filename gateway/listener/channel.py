"""JSON messages between the control process and one worker, both ways, over a socket pair."""

import asyncio
import socket
from collections.abc import Mapping
from typing import Any

import orjson

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Largest message (bytes)."""


class Channel:
    """One end. Made from a socket anywhere; used from the event loop that `open` was called on."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        """Attach to the running event loop."""
        self._sock.setblocking(False)
        self._reader, self._writer = await asyncio.open_unix_connection(sock=self._sock, limit=MAX_MESSAGE_BYTES)

    def send(self, message: Mapping[str, Any]) -> None:
        """Queue a message; it is lost if the other side is gone, which `receive` there or here tells."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(orjson.dumps(message) + b"\n")

    async def receive(self) -> dict[str, Any] | None:
        """Return the next message, or None once the other side is gone."""
        if self._reader is None:
            raise RuntimeError("the channel is not open")
        try:
            line = await self._reader.readline()
            message = orjson.loads(line) if line.endswith(b"\n") else None
        except (ConnectionError, ValueError):  # too long or not JSON: the other side is not itself any more
            return None
        return message if isinstance(message, dict) else None

    def close(self) -> None:
        """Close this end."""
        if self._writer is not None:
            self._writer.close()
        else:
            self._sock.close()
