"""The OPA servers that the control process runs, where OPA decides: one per revision."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.config import GatewayConfig

if TYPE_CHECKING:
    from gateway.authorization.opa import OpaProcess


class OpaServers:
    """Runs an OPA for the active revision. Does nothing where the embedded engine or a server elsewhere decides."""

    def __init__(self, config: GatewayConfig) -> None:
        chosen = config.policy
        self._executable = chosen.opa.executable if chosen.engine == "opa" else None
        self._directory = config.state_dir / "opa"
        self._running: dict[str, OpaProcess] = {}

    def address(self, digest: str) -> str:
        """Return where the OPA of a revision listens, empty where none is run."""
        return f"unix://{self._socket(digest)}" if self._executable is not None else ""

    async def start(self, digest: str, bundle: Path) -> None:
        """Run an OPA for a revision.

        Raises:
            ConfigError: it cannot be started, or does not take the bundle.
        """
        if self._executable is None or digest in self._running:
            return
        from gateway.authorization.opa import OpaProcess  # noqa: PLC0415 - loaded only where it is used

        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        process = OpaProcess(self._executable, bundle, self._socket(digest))
        await process.start()
        self._running[digest] = process

    @contextlib.asynccontextmanager
    async def running(self, digest: str, bundle: Path) -> AsyncIterator[None]:
        """Run an OPA for a revision beside the one there is: that one is ended once all went well, else the new one."""
        others = [each for each in self._running if each != digest]
        fresh = digest not in self._running
        await self.start(digest, bundle)
        try:
            yield
        except BaseException:
            if fresh:
                await self._stop(digest)
            raise
        for each in others:
            await self._stop(each)

    async def close(self) -> None:
        """End every OPA."""
        for digest in list(self._running):
            await self._stop(digest)

    def problem(self, digest: str) -> str:
        """Return why the OPA of the revision that should decide does not, empty if it does, or if none is run."""
        if self._executable is None:
            return ""
        process = self._running.get(digest)
        if process is None:
            return "no OPA runs for the active revision; restart the gateway"
        return "" if process.ready else process.detail

    async def _stop(self, digest: str) -> None:
        process = self._running.pop(digest, None)
        if process is not None:
            await process.stop()

    def _socket(self, digest: str) -> Path:
        return self._directory / f"{digest[:16]}.sock"
