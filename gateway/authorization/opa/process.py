"""An OPA server as a child of the control process: started, watched, started again when it ends, and stopped."""

import asyncio
import contextlib
import os
import shutil
import stat
import sys
import time
from collections import deque
from pathlib import Path

import structlog

from gateway import bound_to_parent
from gateway.authorization.opa.address import OpaAddress, check_socket_path
from gateway.authorization.opa.client import OpaAwayError, OpaClient
from gateway.authorization.opa.output import relay_output
from gateway.errors import ConfigError

READY_SECONDS = 15.0
"""Time to load the bundle and answer (seconds)."""

STOP_SECONDS = 5.0
"""Time to end after SIGTERM (seconds)."""

CHECK_SECONDS = 1.0
"""Time between two questions for its health, and for the answer to one (seconds)."""

FAILED_CHECKS = 3
"""Questions in a row without an answer after which it is ended and started again."""

SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
"""Pause before it is started again, doubled each time it ends before it was up for the longest pause (seconds)."""

_HEALTH = b"GET /health?bundles HTTP/1.1\r\nhost: opa\r\n\r\n"
_log = structlog.get_logger("govgateway.opa")


class OpaProcess:
    """Runs OPA on a Unix socket with one bundle. Belongs to one event loop.

    The child gets no environment, no descriptor and no input of the gateway, asks nobody for its version, and is
    killed by the kernel if the gateway's process dies (Linux).

    Args:
        executable: OPA's program.
        bundle: the bundle file.
        socket: path of the socket to listen on, in a directory that only the gateway's user may enter.
        ready_seconds: time to load the bundle and answer (seconds).

    Attributes:
        ready: whether it answers.
        detail: why not, empty while it does.

    Raises:
        ConfigError: there is no such program, or the socket's path is too long.
    """

    def __init__(
        self,
        executable: Path,
        bundle: Path,
        socket: Path,
        *,
        ready_seconds: float = READY_SECONDS,
    ) -> None:
        found = shutil.which(executable)
        if found is None:
            raise ConfigError(
                f"policy.opa.executable {executable} is not a program that can be run. Install OPA "
                "(https://www.openpolicyagent.org/docs/#1-download-opa), or set policy.engine: embedded."
            )
        check_socket_path(str(socket))
        self._socket = socket
        self._command = [str(Path(found).absolute()), "run", "--server", "--addr", f"unix://{socket}"]
        self._command += ["--unix-socket-perm", "600", "--bundle", "--skip-version-check"]
        self._command += ["--log-level", "error", "--log-format", "json"]
        # The gateway verified the bundle when it was taken, and names it by its digest.
        self._command += ["--skip-verify", str(bundle)]
        self._ready_seconds = ready_seconds
        self._child: asyncio.subprocess.Process | None = None
        self._output: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._last_lines: deque[str] = deque(maxlen=5)
        self._client: OpaClient | None = None
        self.ready = False
        self.detail = "it was not started"

    @property
    def pid(self) -> int | None:
        """Process id of the child, None while there is none."""
        return self._child.pid if self._child is not None and self._child.returncode is None else None

    async def start(self) -> None:
        """Start it and wait until it has loaded the bundle and answers.

        Raises:
            ConfigError: it ended, for instance because it does not take the bundle, or did not answer in time.
        """
        try:
            await self._launch()
        except ConfigError:
            await self._end()
            raise
        except BaseException:
            await asyncio.shield(self._end())
            raise
        self._watch = asyncio.create_task(self._keep(), name="opa")

    async def stop(self) -> None:
        """End it: SIGTERM, then SIGKILL. Idempotent."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
        await self._end()
        self._away("it was stopped")

    async def _launch(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(self._socket.lstat().st_mode):
                self._socket.unlink()  # left behind by one that was killed
        self._last_lines.clear()
        launcher = [sys.executable, "-I", bound_to_parent.__file__, str(os.getpid())]
        try:
            self._child = await asyncio.create_subprocess_exec(
                *launcher,
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env={},
                cwd=self._socket.parent,
                start_new_session=True,
            )
        except OSError as error:
            raise ConfigError(f"OPA cannot be started: {error}.") from None
        assert self._child.stdout is not None  # noqa: S101 - a pipe was asked for
        self._output = asyncio.create_task(relay_output(self._child.stdout, self._last_lines))
        self._client = OpaClient(OpaAddress(f"unix://{self._socket}", str(self._socket), "", 0, "opa", None), 1)
        await self._until_ready()
        self.ready, self.detail = True, ""

    async def _until_ready(self) -> None:
        assert self._child is not None  # noqa: S101 - launched
        ended = asyncio.create_task(self._child.wait())
        try:
            async with asyncio.timeout(self._ready_seconds):
                while not await self._answers():
                    done, _ = await asyncio.wait({ended}, timeout=0.02)
                    if done:
                        raise ConfigError(f"OPA ended with status {ended.result()} at its start. {await self._said()}")
        except TimeoutError:
            raise ConfigError(
                f"OPA did not load its bundle within {self._ready_seconds:g} seconds. {await self._said()}"
            ) from None
        finally:
            ended.cancel()

    async def _answers(self) -> bool:
        assert self._client is not None  # noqa: S101 - launched
        deadline = asyncio.get_running_loop().time() + CHECK_SECONDS
        try:
            status, _ = await self._client.ask(_HEALTH, b"", deadline)
        except OpaAwayError:
            return False
        return status == 200

    async def _keep(self) -> None:
        """Start it again whenever it ends or falls silent."""
        pause = SHORTEST_PAUSE
        while True:
            since = time.monotonic()
            if self.ready:
                cause = await self._until_failed()
                self._away(cause)
                _log.error("policy-engine-failed", detail=cause)
            await self._end()
            if time.monotonic() - since > LONGEST_PAUSE:
                pause = SHORTEST_PAUSE
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
            try:
                await self._launch()
            except ConfigError as error:
                self._away(str(error))
                _log.error("policy-engine-failed", detail=str(error))
            else:
                _log.info("policy-engine-started", pid=self.pid)

    async def _until_failed(self) -> str:
        assert self._child is not None  # noqa: S101 - launched
        ended = asyncio.create_task(self._child.wait())
        failed = 0
        try:
            while failed < FAILED_CHECKS:
                done, _ = await asyncio.wait({ended}, timeout=CHECK_SECONDS)
                if done:
                    return f"OPA ended with status {ended.result()}. {await self._said()}"
                failed = 0 if await self._answers() else failed + 1
        finally:
            ended.cancel()
        return f"OPA gave no sign of health {FAILED_CHECKS} times in a row."

    async def _end(self) -> None:
        """End the child, if there is one, and what belongs to it."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
        child, self._child = self._child, None
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
            try:
                await asyncio.wait_for(child.wait(), STOP_SECONDS)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                await child.wait()
        output, self._output = self._output, None
        if output is not None:
            await output

    async def _said(self) -> str:
        """Return the last lines of its output, once all of it is read."""
        if self._output is not None and self._child is not None and self._child.returncode is not None:
            await asyncio.wait({self._output}, timeout=1)
        return f"Its last words: {' | '.join(self._last_lines)}" if self._last_lines else "It said nothing."

    def _away(self, detail: str) -> None:
        self.ready, self.detail = False, detail
