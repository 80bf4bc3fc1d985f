"""What the ledger did not take is charged once it takes again."""

from pathlib import Path
from typing import Any

from gateway.charging import Charging
from gateway.clock import system_clock
from gateway.errors import UnavailableError
from gateway.quota.limits import LimitTable
from gateway.quota.shared_ledger import SharedLedger

LIMITS = LimitTable.from_data(({"name": "day", "scope": "agent", "tokens_per_day": 1000},))
AGENT = ("spiffe://gateway.test/agent/a", "research", "agent")


class StuckLedger:
    """A real ledger whose settlements fail while it is stuck."""

    def __init__(self, ledger: SharedLedger) -> None:
        self._ledger = ledger
        self.stuck = False

    def __getattr__(self, name: str) -> Any:
        if self.stuck and name in {"settle", "release"}:
            raise UnavailableError("The quota ledger is locked.")
        return getattr(self._ledger, name)


async def test_settlements_that_failed_are_tried_again_in_order(tmp_path: Path) -> None:
    real = SharedLedger(tmp_path / "quota.ledger", 1024, system_clock)
    ledger = StuckLedger(real)
    charging = Charging(ledger)  # type: ignore[arg-type]
    limits = LIMITS.for_principal(*AGENT)
    held = [await ledger.reserve(limits, tokens=300, stream=False, lease_seconds=60) for _ in range(3)]
    ledger.stuck = True
    assert not await charging.charge(held[0], 10)
    assert not await charging.charge(held[1], None)
    await charging.settle_late()
    [standing] = await real.standings(limits)
    assert standing.remaining == 100, "all three are still held"
    ledger.stuck = False
    await charging.settle_late()
    assert await charging.charge(held[2], 20)
    [standing] = await real.standings(limits)
    assert standing.remaining == 970
    real.close()
