"""A new generation for every worker, or for none: each prepares it, and only when all have does any take it."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from gateway.errors import ConfigError
from gateway.listener.workers import Supervisor

_log = structlog.get_logger("govgateway.reloading")

RELOAD_SECONDS = 60.0
"""How long the workers may take to prepare a generation, and then to take it (seconds)."""


class WorkerReload:
    """The control process's side: `prepare`, then `commit` or `abort`.

    Args:
        supervisor: the workers; None before they run.
    """

    def __init__(self, supervisor: Callable[[], Supervisor | None]) -> None:
        self._supervisor = supervisor
        self._number = 0
        self._prepared: dict[int, Mapping[str, Any]] = {}
        self._replies: dict[int, dict[int, dict[str, Any]]] = {}
        self._replied = asyncio.Event()

    def heard(self, index: int, message: dict[str, Any]) -> None:
        """Take a worker's reply."""
        self._replies.get(message["id"], {})[index] = message
        self._replied.set()

    async def prepare(self, generation: Mapping[str, Any]) -> int:
        """Let every worker build a generation beside the one it runs.

        Args:
            generation: what the workers build from.

        Returns:
            the number of the generation, for `commit` or `abort`.

        Raises:
            ConfigError: a worker cannot, or does not answer; every worker drops it.
        """
        self._number += 1
        number = self._number
        self._prepared = {number: generation}
        replies = await self._ask({"type": "prepare", "id": number, **generation})
        refused = {index: reply["detail"] for index, reply in replies.items() if reply["type"] == "refused"}
        if refused:
            self.abort(number)
            index, detail = min(refused.items())
            raise ConfigError(f"Worker {index} cannot take it: {detail} Nothing was changed.")
        return number

    async def commit(self, number: int, more: Mapping[str, Any]) -> int:
        """Let every worker take a prepared generation; return how many did.

        A worker that was started meanwhile prepares it as well, from the same message.
        """
        message = {"type": "commit", "id": number, **self._prepared.pop(number), **more}
        replies = await self._ask(message, strict=False)
        return sum(reply["type"] == "reloaded" for reply in replies.values())

    def abort(self, number: int) -> None:
        """Let every worker drop a prepared generation."""
        supervisor = self._supervisor()
        if supervisor is not None:
            supervisor.broadcast({"type": "abort", "id": number})

    async def _ask(self, message: dict[str, Any], *, strict: bool = True) -> dict[int, dict[str, Any]]:
        supervisor = self._supervisor()
        if supervisor is None:
            return {}
        number = message["id"]
        expected = _ready(supervisor)
        replies = self._replies[number] = {}
        # To those that are still starting, too: they read it after the generation they start with.
        supervisor.broadcast(message)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RELOAD_SECONDS):
                    while not _indexes(expected & _ready(supervisor)) <= set(replies):
                        self._replied.clear()
                        with contextlib.suppress(TimeoutError):
                            # A worker that ended does not answer: look again now and then.
                            await asyncio.wait_for(self._replied.wait(), 1)
        finally:
            del self._replies[number]
        silent = sorted(_indexes(expected & _ready(supervisor)) - set(replies))
        for index in silent:
            _log.error("worker-behind", worker=index, message=message["type"])
        if silent and strict:
            self.abort(number)
            named = ", ".join(map(str, silent))
            raise ConfigError(f"Worker {named} did not answer within {RELOAD_SECONDS:.0f} s. Nothing was changed.")
        return replies


def _ready(supervisor: Supervisor) -> set[tuple[int, int]]:
    """Return index and process of the workers that serve; one that was restarted is another."""
    return {(worker.index, worker.pid) for worker in supervisor.workers if worker.state == "ready"}


def _indexes(workers: set[tuple[int, int]]) -> set[int]:
    return {index for index, _ in workers}
