"""Follows a source of revisions: asks it now and then, and activates what is new there."""

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Protocol

import structlog

from gateway.errors import ConfigError, GatewayError
from gateway.policy_activation.store import History

_log = structlog.get_logger("govgateway.following")

SLOWEST_SECONDS = 300.0
"""Longest wait after failures in a row (seconds)."""


class SourceError(ConfigError):
    """The source did not give a bundle; the message names it and the cause."""


class Source(Protocol):
    """Where bundles lie."""

    @property
    def name(self) -> str:
        """Where, for people; without credentials."""

    async def fetch(self) -> bytes | None:
        """Return the bundle that lies there, None if it is the one returned last.

        May wait for news, within the limits it was made with.

        Raises:
            SourceError: it cannot be had.
        """


class Follower:
    """Activates what a source has.

    Args:
        source: the source.
        poll_seconds: how often it is asked.
        history: the activations so far.
        activate: activates a bundle, or raises ConfigError.
    """

    def __init__(
        self,
        source: Source,
        poll_seconds: float,
        history: Callable[[], History],
        activate: Callable[[bytes, str], Awaitable[object]],
    ) -> None:
        self._source = source
        self._poll_seconds = poll_seconds
        self._history = history
        self._activate = activate
        self.problem = ""
        self._untaken: bytes | None = None
        self._failures = 0

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                await self.once()
                self._failures = 0
            except (ConfigError, GatewayError) as error:
                self._failures += 1
                if str(error) != self.problem:
                    _log.error("policy-source", source=self._source.name, cause=str(error))
                self.problem = str(error)
            except Exception as error:
                # A defect of ours must not end the following unseen.
                self._failures += 1
                _log.exception("policy-source-failed", source=self._source.name)
                self.problem = f"following failed: {type(error).__name__}; the log says where"
            await asyncio.sleep(min(self._poll_seconds * 2 ** min(self._failures, 8), SLOWEST_SECONDS))

    async def once(self) -> bool:
        """Ask once; whether a revision was activated.

        What could not be activated is tried again until the source has another: a reload may have been under way, the
        audit log full, or the configuration may allow it by then.

        Raises:
            ConfigError: the source does not answer, or what it has cannot be activated.
        """
        fresh = await self._source.fetch()
        if fresh is not None:
            self._failures = 0
            self._untaken = fresh
        content = self._untaken
        activated = False
        if content is not None and self._is_new(sha256(content).hexdigest()):
            await self._activate(content, self._source.name)
            activated = True
        self._untaken, self.problem = None, ""
        return activated

    def _is_new(self, digest: str) -> bool:
        """Whether a bundle is to be activated: not the active one, and none that was rolled back from."""
        history = self._history()
        if history.active is not None and history.active.digest == digest:
            return False
        if digest in history.withdrawn:
            _log.info("policy-source-behind", source=self._source.name, digest=digest)
            return False
        return True
