"""When an SVID is renewed, how failures are spaced, and what a keeper does to the end of a life."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.attestation import keeping
from identity.attestation.keeping import Keeper, SvidExpiredError, renewal_due, retry_after
from identity.attestation.node import NodeSvid
from identity.clock import NANOSECONDS
from identity.errors import IdentityError
from identity.verification import PeerIdentity

START = 1_800_000_000
CHANCES = st.floats(0, 1, exclude_max=True)


def peer(not_after, serial="1"):
    return PeerIdentity("spiffe://a.test/b", "a.test", "/b", serial, "f", START, not_after)


def svid(not_after, serial):
    return NodeSvid(peer(not_after, serial), (), None, None)


@given(st.integers(2, 86_400), CHANCES)
def test_renewal_is_at_half_of_the_life_give_or_take_a_tenth(life, chance):
    assert START + 0.399 * life <= renewal_due(START, START + life, chance) <= START + 0.601 * life


def test_machines_that_started_together_do_not_renew_together():
    assert len({renewal_due(START, START + 3600, n / 100) for n in range(100)}) == 100


@given(st.integers(1, 1000), st.floats(0.1, 86_400), CHANCES)
def test_retries_are_bounded_and_leave_time_for_more(failures, left, chance):
    wait = retry_after(failures, left, chance)
    assert 0.5 <= wait <= 300
    assert wait <= max(1.0, left / 4)


def test_retries_back_off():
    waits = [retry_after(failures, 86_400, 0) for failures in range(1, 12)]
    assert waits == sorted(waits)
    assert (waits[0], waits[1], waits[-1]) == (2, 4, 300)


class Stage:
    """A keeper whose clock runs a thousand times faster than the loop."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.taken = []
        self.told = []
        self.origin = asyncio.get_running_loop().time()
        self.keeper = Keeper(self.fetch, self.take, self.told.append, self.clock, chance=lambda: 0.5)

    def now(self):
        return START + (asyncio.get_running_loop().time() - self.origin) * 1000

    def clock(self):
        return int(self.now() * NANOSECONDS)

    async def fetch(self):
        answer = self.answers.pop(0) if self.answers else IdentityError("the gateway is away")
        if isinstance(answer, Exception):
            raise answer
        return svid(int(self.now()) + answer, str(len(self.answers)))

    def take(self, taken):
        self.taken.append((taken.peer.serial, self.now() - START))


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(keeping, "LOOK_SECONDS", 0.001)


async def test_each_svid_is_renewed_at_half_of_its_life_until_no_other_comes():
    stage = Stage(200, 200)
    with pytest.raises(SvidExpiredError, match="the gateway is away"):
        await stage.keeper.keep(peer(START + 200))
    assert [serial for serial, _ in stage.taken] == ["1", "0"]
    assert stage.taken[0][1] >= 100
    assert stage.taken[1][1] >= stage.taken[0][1] + 99
    assert sum(line.startswith("renewed") for line in stage.told) == 2
    assert any(line.startswith("not renewed, next try in") for line in stage.told)


async def test_a_failure_is_followed_by_another_try():
    stage = Stage(IdentityError("not now"), 100_000)
    keeping_on = asyncio.create_task(stage.keeper.keep(peer(START + 200)))
    while not stage.taken:
        await asyncio.sleep(0.005)
    keeping_on.cancel()
    assert "not now" in stage.told[0]
    assert stage.taken[0][1] < 200


async def test_it_renews_at_once_when_it_is_told_to():
    stage = Stage(100_000, 100_000)
    keeping_on = asyncio.create_task(stage.keeper.keep(peer(START + 100_000)))
    await asyncio.sleep(0.01)
    assert stage.taken == []
    stage.keeper.at_once()
    while not stage.taken:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    assert len(stage.taken) == 1, "and only once"
    keeping_on.cancel()
