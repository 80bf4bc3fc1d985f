"""A ledger with a clock that the test drives."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.clock import NANOSECONDS
from gateway.quota.ledger import Limit
from gateway.quota.shared_ledger import SharedLedger

NOON = (20_000 * 86_400 + 43_200) * NANOSECONDS
"""Noon of a day in UTC (nanoseconds)."""

SLOTS = 1024

OpenLedger = Callable[..., SharedLedger]


class DrivenClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> int:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += round(seconds * NANOSECONDS)


@pytest.fixture
def clock() -> DrivenClock:
    return DrivenClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "quota" / "ledger"


@pytest.fixture
def open_ledger(path: Path, clock: DrivenClock) -> Iterator[OpenLedger]:
    """Open the ledger of this test, as often as it wants: each is as another process."""
    opened: list[SharedLedger] = []

    def open_one(slots: int = SLOTS) -> SharedLedger:
        opened.append(SharedLedger(path, slots, clock))
        return opened[-1]

    yield open_one
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(open_ledger: OpenLedger) -> SharedLedger:
    return open_ledger()


def requests_a_minute(amount: int, subject: str = "a") -> Limit:
    return Limit("rpm", f"rpm|{subject}", "requests", 60, amount)


def tokens_a_minute(amount: int, subject: str = "a") -> Limit:
    return Limit("tpm", f"tpm|{subject}", "tokens", 60, amount)


def tokens_a_day(amount: int, subject: str = "a") -> Limit:
    return Limit("tpd", f"tpd|{subject}", "tokens", 86_400, amount)


def streams_at_once(amount: int, subject: str = "a") -> Limit:
    return Limit("streams", f"streams|{subject}", "streams", 0, amount)
