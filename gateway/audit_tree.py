"""The signed tree of this gateway's audit log, as the control process runs it: take, sign, publish, again and again.

A log that is not the one that was written stops the gateway: it does not start, or is not ready any more, and says
which chain is broken. A disk that does not take a tile is tried again; until then the checkpoint grows old, which
readiness tells after `STALE_SECONDS`.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from audit.errors import AuditBrokenError, AuditError, AuditUnavailableError
from audit.log import AuditLog
from audit.receipts import CHECKPOINT
from audit.store import AuditStore
from audit.tlog.errors import TileMissingError
from audit.tlog.note import NoteSigner
from audit.tlog.tiles import DirectoryTiles
from audit.tree.sequencer import Sequenced, Sequencer
from audit.tree.state import TreeState

if TYPE_CHECKING:
    from gateway.audit_witnesses import AuditWitnesses

_log = structlog.get_logger(__name__)

STALE_SECONDS = 60.0
"""How long the tree may not be taken further before the gateway is not ready (seconds)."""


class AuditTree:
    """Grows and signs the tree of one log."""

    def __init__(
        self,
        store: AuditStore,
        directory: Path,
        signers: Sequence[NoteSigner],
        interval: float,
        witnesses: "AuditWitnesses | None" = None,
    ) -> None:
        """Open the tree.

        Args:
            store: the log.
            directory: where tiles, checkpoint and state are.
            signers: sign the checkpoints, the log's first key first.
            interval: how often new records are taken (seconds).
            witnesses: others who cosign.

        Raises:
            AuditBrokenError: a chain is shorter than what the tree has of it, or is another one.
            AuditStoreError: the log or its tree cannot be opened.
        """
        self._interval = interval
        self._state = TreeState(directory)
        self._storage = DirectoryTiles(directory)
        self._sequencer = Sequencer(store, self._state, self._storage, signers)
        self._sequencer.check()
        self._witnesses = witnesses
        self._broken = ""
        self._problem = ""
        self._taken_at = time.monotonic()
        self._lock = asyncio.Lock()

    @property
    def size(self) -> int:
        """Number of records in the tree."""
        return self._sequencer.size

    @property
    def problem(self) -> str:
        """Why the gateway is not ready; empty while the tree keeps up."""
        stale = time.monotonic() - self._taken_at > STALE_SECONDS
        missing = self._witnesses.problem if self._witnesses is not None else ""
        return self._broken or (self._problem if stale else "") or missing

    async def begin(self) -> None:
        """Show the log as it is to the witnesses, before anything is added to it.

        Raises:
            AuditBrokenError: one of them has seen more of it, or another log in its place.
        """
        if self._witnesses is not None and self._sequencer.size:
            await asyncio.to_thread(self._publish, self._sequencer.sign()[1])

    async def run(self, audit: AuditLog) -> None:
        """Take what is new into the tree until cancelled; `audit` is told what is wrong."""
        while True:
            more = await self.once(audit)
            if not more:
                await asyncio.sleep(self._interval)

    async def once(self, audit: AuditLog | None = None) -> bool:
        """Take what is new, sign and publish; whether there is more to take at once."""
        if self._broken:
            return False
        async with self._lock:
            try:
                done = await asyncio.to_thread(self._step)
            except AuditBrokenError as error:
                self._broken = str(error)
                _log.critical("audit-log-broken", cause=str(error))
                if audit is not None:
                    with contextlib.suppress(AuditUnavailableError):
                        audit.append("log.broken", {"cause": str(error)[:2000]})
                return False
            except (AuditError, OSError) as error:
                if str(error) != self._problem:
                    _log.error("audit-tree", cause=str(error))
                self._problem = f"the tree of the audit log is not taken further: {error}"
                return False
        self._problem = ""
        self._taken_at = time.monotonic()
        return done is not None and done.more

    async def close(self) -> None:
        """Take what is left, and close. Call when nothing is written any more."""
        for _ in range(1000):
            if not await self.once():
                break
        self._state.close()
        if self._witnesses is not None:
            self._witnesses.close()

    def _step(self) -> Sequenced | None:
        done = self._sequencer.step()
        if done is not None:
            self._publish(done.note)
        elif self._sequencer.size and not self._published():
            self._publish(self._sequencer.sign()[1])
        return done

    def _publish(self, note: bytes) -> None:
        """Show a checkpoint to the witnesses, and put it where everybody reads it, with what they signed."""
        if self._witnesses is not None:
            note = self._witnesses.cosign(note, self._sequencer.tiles)
        self._storage.write(CHECKPOINT, note)

    def _published(self) -> bool:
        """Whether some checkpoint lies there; a kill before the first one leaves none."""
        try:
            self._storage.read(CHECKPOINT)
        except TileMissingError:
            return False
        return True

    def status(self) -> dict[str, Any]:
        """Return size and state, for the control plane."""
        return {"size": self.size, "problem": self._broken or self._problem}
