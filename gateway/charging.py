"""Settles reservations with the ledger, and remembers what the ledger would not take."""

from collections import deque

import structlog

from gateway.errors import UnavailableError
from gateway.quota.ledger import QuotaLedger, Reservation

_log = structlog.get_logger("govgateway.charging")

UNSETTLED = 10_000
"""Settlements kept for another try while the ledger does not take them; older ones lapse with their lease."""


class Charging:
    """Charges calls that ended."""

    def __init__(self, ledger: QuotaLedger) -> None:
        self._ledger = ledger
        self._unsettled: deque[tuple[Reservation, int | None]] = deque(maxlen=UNSETTLED)

    async def charge(self, reservation: Reservation, tokens: int | None) -> bool:
        """Settle a reservation, or release it (None). What the ledger does not take now is tried again later."""
        try:
            if tokens is None:
                await self._ledger.release(reservation)
            else:
                await self._ledger.settle(reservation, tokens=tokens)
        except UnavailableError as error:
            # The answer is out, and its outcome is recorded all the same, with what it should have cost.
            _log.error("settlement-failed", charged=tokens, detail=error.detail)
            self._unsettled.append((reservation, tokens))
            return False
        return True

    async def settle_late(self) -> None:
        """Try again what the ledger did not take. Call now and then."""
        for _ in range(len(self._unsettled)):
            if not await self.charge(*self._unsettled.popleft()):
                return
