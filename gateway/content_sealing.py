"""The obligation `log_content_sealed`: a call whose content the policy wants kept is sealed, or does not happen.

The request is on disk, sealed, before the call is forwarded; the answer before its end is released. The first use
opens the store and takes the key, so a worker that is never asked holds neither.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from audit.errors import AuditError, AuditUnavailableError
from audit.log import AuditLog
from audit.sealing import Sealer
from audit.sealing.intake import CallContent, Intake
from gateway.authorization.engine import Decision
from gateway.errors import ConfigError, UnavailableError
from gateway.exchange import Exchange

OBLIGATION = "log_content_sealed"


def case_to_seal(decision: Decision) -> str | None:
    """Return the case under which a call's content is to be sealed, `""` for none; None where nothing is."""
    for obligation in decision.obligations:
        if obligation["type"] == OBLIGATION:
            return str(obligation.get("case", ""))
    return None


class ContentSealing:
    """Seals the content of calls, for one worker.

    Args:
        audit: takes a record of each part.
        open_sealer: opens the store with its key.
        max_memory_bytes: bound for content that waits.
    """

    def __init__(self, audit: AuditLog, open_sealer: Callable[[], Sealer], max_memory_bytes: int) -> None:
        self._audit = audit
        self._open_sealer = open_sealer
        self._max_memory = max_memory_bytes
        self._intake: Intake | None = None

    async def begin(self, exchange: Exchange, case: str) -> CallContent:
        """Seal the request of a call; return what takes its answer.

        Raises:
            UnavailableError: it cannot be sealed; the call must not be forwarded.
        """
        assert exchange.peer is not None  # noqa: S101 - the pipeline's first step
        # Whom the call is for: the first of those who act for each other, else the caller itself.
        subject = exchange.delegation[0] if exchange.delegation else exchange.peer.id
        try:
            if self._intake is None:
                self._intake = Intake(self._open_sealer(), max_pending_bytes=self._max_memory)
            content = self._intake.begin(exchange.request_id, subject, case)
            self._record(exchange, await content.seal_request(exchange.body))
        except (AuditError, ConfigError) as error:
            raise _unavailable(error) from error
        return content

    def feed(self, content: CallContent, piece: bytes) -> None:
        """Take a piece of the answer.

        Raises:
            UnavailableError: it cannot be sealed; it must not be passed on.
        """
        try:
            content.feed(piece)
        except AuditError as error:
            raise _unavailable(error) from error

    async def end(self, exchange: Exchange, content: CallContent) -> None:
        """Seal the answer.

        Raises:
            UnavailableError: it is not sealed; its end must not be released.
        """
        try:
            self._record(exchange, await content.seal_response())
        except AuditError as error:
            raise _unavailable(error) from error

    async def give_up(self, exchange: Exchange, content: CallContent) -> None:
        """Seal what was passed on of an answer that was cut; best effort, since nothing can be refused any more."""
        with suppress(AuditError):
            self._record(exchange, await content.seal_response())
        content.close()

    async def close(self) -> None:
        """Seal what is left."""
        if self._intake is not None:
            await self._intake.close()

    def _record(self, exchange: Exchange, fields: dict[str, Any]) -> None:
        assert exchange.peer is not None  # noqa: S101 - the pipeline's first step
        with suppress(AuditUnavailableError):  # `keep` is never refused
            self._audit.append("content.sealed", {"principal": exchange.peer.id, **fields}, keep=True)


def _unavailable(error: Exception) -> UnavailableError:
    return UnavailableError(
        f"The policy asks for the content of this call to be kept sealed, and it cannot be: {error}.",
        code="sealing_unavailable",
    )
