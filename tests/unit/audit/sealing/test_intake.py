import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from audit.event_id import uuid7
from audit.sealing import Content, Intake, SealingError, SealingUnavailableError


async def test_the_content_of_a_call_is_on_disk_when_it_returns(world: Any) -> None:
    intake = Intake(world.sealer)
    event_id = uuid7()
    with intake.begin(event_id, "user-1", "case-1") as call:
        fields = await call.seal_request(b"prompt")
        await call.seal_identifiers(b'{"name":"Ada"}')
        for piece in (b"an", b"swer"):
            call.feed(piece)
        await call.seal_response()
    assert fields["of"] == event_id
    assert intake.pending_bytes == 0
    await intake.close()
    opened = {part: world.sealer.open(event_id, part)[1].content for part in ("request", "response", "identifiers")}
    assert opened == {"request": b"prompt", "response": b"answer", "identifiers": b'{"name":"Ada"}'}


class Slow:
    """A sealer that waits until it is let go, and notes the sizes of its batches."""

    def __init__(self, sealer: Any) -> None:
        self.go = threading.Event()
        self.batches: list[int] = []
        self._sealer = sealer

    def seal(self, contents: Sequence[Content]) -> Any:
        assert self.go.wait(30)
        self.batches.append(len(contents))
        return self._sealer.seal(contents)


async def test_the_event_loop_goes_on_and_what_waited_is_sealed_together(world: Any) -> None:
    slow: Any = Slow(world.sealer)
    intake = Intake(slow)
    calls = [asyncio.create_task(intake.begin(uuid7(), "u").seal_request(b"x")) for _ in range(20)]
    await asyncio.sleep(0.01)
    assert intake.pending_bytes == 20
    slow.go.set()
    assert len({fields["content"] for fields in await asyncio.gather(*calls)}) == 20
    assert intake.pending_bytes == 0
    assert len(slow.batches) <= 3
    await intake.close()


async def test_memory_is_bounded_also_for_callers_who_leave(world: Any) -> None:
    slow: Any = Slow(world.sealer)
    intake = Intake(slow, max_pending_bytes=100)
    left = asyncio.create_task(intake.begin(uuid7(), "u").seal_request(b"x" * 60))
    await asyncio.sleep(0.01)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    assert intake.pending_bytes == 60
    with pytest.raises(SealingUnavailableError, match="wait to be sealed"):
        intake.begin(uuid7(), "u")
    slow.go.set()
    while intake.pending_bytes:
        await asyncio.sleep(0.005)
    intake.begin(uuid7(), "u")
    await intake.close()


async def test_an_answer_that_does_not_fit_is_cut_and_gives_its_memory_back(world: Any) -> None:
    intake = Intake(world.sealer, max_pending_bytes=100, max_part_bytes=40)
    with intake.begin(uuid7(), "u") as call:
        call.feed(b"x" * 40)
        with pytest.raises(SealingUnavailableError, match="larger"):
            call.feed(b"x")
        others = [intake.begin(uuid7(), "u") for _ in range(2)]
        others[0].feed(b"x" * 40)
        with pytest.raises(SealingUnavailableError, match="wait"):
            others[1].feed(b"x" * 40)
        with pytest.raises(SealingUnavailableError, match="larger"):
            await others[1].seal_request(b"x" * 41)
    others[0].close()
    others[0].close()
    assert intake.pending_bytes == 0
    await intake.close()


async def test_a_failing_store_refuses_and_recovers_by_itself(world: Any) -> None:
    intake = Intake(world.sealer)
    add = world.store.add_items

    def broken(_: Any) -> None:
        raise SealingUnavailableError("the disk is full")

    world.store.add_items = broken
    with pytest.raises(SealingUnavailableError, match="full"):
        await intake.begin(uuid7(), "u").seal_request(b"x")
    assert "full" in intake.reason
    world.store.add_items = add
    await intake.begin(uuid7(), "u").seal_request(b"x")
    assert intake.reason == ""
    assert intake.pending_bytes == 0
    await intake.close()


async def test_a_defect_refuses_the_call_and_leaves_the_thread_running(world: Any) -> None:
    intake = Intake(world.sealer)
    add = world.store.add_items

    def defect(_: Any) -> None:
        raise ZeroDivisionError

    world.store.add_items = defect
    with pytest.raises(SealingUnavailableError, match="ZeroDivisionError"):
        await intake.begin(uuid7(), "u").seal_request(b"x")
    world.store.add_items = add
    await intake.begin(uuid7(), "u").seal_request(b"x")
    await intake.close()


async def test_one_call_at_fault_does_not_refuse_the_others_of_its_batch(world: Any) -> None:
    taken = world.seal(b"first")
    slow: Any = Slow(world.sealer)
    intake = Intake(slow)
    events = [uuid7(), taken, uuid7()]
    calls = [asyncio.create_task(intake.begin(each, "u").seal_request(b"x")) for each in events]
    await asyncio.sleep(0.01)
    slow.go.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(results[1], SealingError)
    assert [isinstance(each, dict) for each in results] == [True, False, True]
    await intake.close()


async def test_nothing_is_sealed_after_the_end(world: Any) -> None:
    intake = Intake(world.sealer)
    await intake.close()
    with pytest.raises(SealingUnavailableError, match="stopping"):
        await intake.begin(uuid7(), "u").seal_request(b"x")
    assert intake.pending_bytes == 0
