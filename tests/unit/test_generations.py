"""A change of generation goes on to its end, whoever leaves meanwhile."""

import asyncio

import pytest

from gateway.errors import ConfigError
from gateway.generations import Generations, _whole


async def test_a_client_that_leaves_does_not_stop_what_it_asked_for_half_way():
    steps = []
    go_on, done = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        steps.append("prepared")
        await go_on.wait()
        steps.append("taken")
        done.set()

    asking = asyncio.create_task(_whole(work()))
    while not steps:
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    go_on.set()
    await asyncio.wait_for(done.wait(), 5)
    assert steps == ["prepared", "taken"]


async def test_what_fails_is_told_to_who_stayed():
    async def work() -> None:
        raise ConfigError("not like this")

    with pytest.raises(ConfigError, match="not like this"):
        await _whole(work())


@pytest.mark.parametrize("reason", ["", " ", "\u200b", "\u3164\u2800"])
async def test_a_rollback_whose_reason_nobody_sees_has_none(reason):
    unused = object.__new__(Generations)
    with pytest.raises(ConfigError, match="needs a reason"):
        await unused.rollback("", "operator:ada", reason)
    with pytest.raises(ConfigError, match="needs a reason"):
        await unused.activate(b"", "a file", "operator:ada", rollback=True, reason=reason)
