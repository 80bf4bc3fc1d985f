"""The control socket of this machine: what govctl asks of the running gateway, with an answer.

A Unix socket in the state directory. Who may connect is who may read and change the gateway's files anyway: the user
that runs it, and root. The kernel tells who it is; nothing that the peer sends does.

A request is one line of JSON, `{"op": …, "bytes": N, …}`, then N bytes of content; the answer is one line of JSON,
`{"ok": true, "answer": …}` or `{"ok": false, "error": …}`.
"""

import asyncio
import contextlib
import os
import pwd
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import structlog

from audit.errors import AuditError
from gateway.errors import ConfigError, GatewayError
from identity.errors import IdentityError

_log = structlog.get_logger("govgateway.local")

MAX_LINE_BYTES = 65_536
"""Longest request line (bytes)."""

MAX_CONTENT_BYTES = 64 * 1024 * 1024
"""Largest content of a request (bytes)."""

MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""Longest answer (bytes)."""

READ_SECONDS = 30.0
"""How long a request may take to arrive (seconds)."""

ANSWER_SECONDS = 300.0
"""How long govctl waits for an answer (seconds)."""

_NAME = "control.sock"

Operation = Callable[[str, Mapping[str, Any], bytes], Awaitable[Any]]
"""Does what was asked: (who asks as `operator:NAME`, the request, its content) -> a JSON value."""


class LocalControl:
    """Serves the control socket.

    Args:
        state_dir: where the socket is made, with permissions 0600.
        operations: what may be asked, by name.
    """

    def __init__(self, state_dir: Path, operations: Mapping[str, Operation]) -> None:
        self._state_dir = state_dir
        self._operations = operations
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. One gateway at a time uses a state directory, so a socket that is there was left behind."""
        sock = _bind(self._state_dir)
        self._server = await asyncio.start_unix_server(self._serve, sock=sock, limit=MAX_LINE_BYTES)

    async def close(self) -> None:
        """Stop listening and remove the socket."""
        if self._server is not None:
            self._server.close()
            _remove(self._state_dir)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answer = await self._answer(reader, writer.get_extra_info("socket"))
            writer.write(orjson.dumps(answer, default=str) + b"\n")
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass  # whoever asked is gone
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, sock: Any) -> dict[str, Any]:
        uid = _peer_uid(sock)
        try:
            async with asyncio.timeout(READ_SECONDS):
                # Read whoever asks: an answer to what was not read is lost with the connection.
                request, content = await _read_request(reader)
            if uid not in {0, os.geteuid()}:
                return {"ok": False, "error": f"User {uid} does not run this gateway; ask as the user that does."}
            operation = self._operations[request["op"]]
        except (KeyError, TypeError, ValueError, asyncio.LimitOverrunError):
            return {"ok": False, "error": "The running gateway does not know this request; is it of this version?"}
        try:
            return {"ok": True, "answer": await operation(f"operator:{_name(uid)}", request, content)}
        except GatewayError as error:
            refusal = f"{error.detail} {error.remedy}".strip()
        except (ConfigError, IdentityError, AuditError) as error:
            refusal = str(error)
        except Exception:
            _log.exception("local-request-failed", op=request["op"])
            refusal = "The gateway failed at it; its log says why."
        return {"ok": False, "error": refusal}


async def _read_request(reader: asyncio.StreamReader) -> tuple[dict[str, Any], bytes]:
    """Read a request and its content.

    Raises:
        KeyError, TypeError, ValueError, asyncio.LimitOverrunError: it is none.
    """
    request = orjson.loads(await reader.readuntil(b"\n"))
    size = request["bytes"]
    if type(size) is not int or not 0 <= size <= MAX_CONTENT_BYTES:
        raise ValueError(f"{size!r} bytes of content")
    return request, await reader.readexactly(size)


def ask(state_dir: Path, op: str, request: Mapping[str, Any] | None = None, content: bytes = b"") -> Any:
    """Ask the running gateway and return its answer.

    Args:
        state_dir: the gateway's state directory.
        op: the operation.
        request: its arguments, JSON values.
        content: its content.

    Raises:
        NotRunningError: no gateway runs on this directory.
        ConfigError: it refused, with its reason, or does not answer.
    """
    line = orjson.dumps({"op": op, "bytes": len(content), **(request or {})}) + b"\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(ANSWER_SECONDS)
        try:
            with _reachable(state_dir) as address:
                sock.connect(address)
            sock.sendall(line + content)
            answer = _read_line(sock)
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunningError(f"No gateway runs on {state_dir}; start it with: govctl up") from None
        except PermissionError:
            raise ConfigError(f"{state_dir / _NAME}: permission denied. Run govctl as the user that runs it.") from None
        except (OSError, ValueError) as error:
            raise ConfigError(f"The gateway on {state_dir} does not answer: {error}. Its log may say why.") from error
    if answer.get("ok") is not True:
        raise ConfigError(str(answer.get("error", "The gateway refused without a reason.")))
    return answer.get("answer")


class NotRunningError(ConfigError):
    """No gateway runs on the state directory."""


def _read_line(sock: socket.socket) -> dict[str, Any]:
    received = bytearray()
    while not received.endswith(b"\n"):
        part = sock.recv(65_536)
        if not part or len(received) > MAX_ANSWER_BYTES:
            raise ValueError("the answer ended early")
        received += part
    answer = orjson.loads(received)
    if not isinstance(answer, dict):
        raise ValueError("the answer is not an object")  # noqa: TRY004 - callers catch one type for every fault
    return answer


@contextlib.contextmanager
def _reachable(state_dir: Path) -> Iterator[str]:
    """Yield an address of the socket that is short enough for the kernel, however deep the directory lies."""
    directory = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{_NAME}"
    finally:
        os.close(directory)


def _remove(state_dir: Path) -> None:
    (state_dir / _NAME).unlink(missing_ok=True)


def _bind(state_dir: Path) -> socket.socket:
    """Return the socket, bound where one that was left behind may lie, for its owner alone."""
    _remove(state_dir)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with _reachable(state_dir) as address:
            sock.bind(address)
    finally:
        os.umask(before)
    return sock


def _peer_uid(sock: Any) -> int:
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(uid)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
