"""The connections to OPA: kept, bounded, waited for, and never used for another's answer."""

import asyncio
from pathlib import Path

import pytest

from gateway.authorization.opa import OpaEngine
from gateway.errors import UnavailableError
from tests.support.scripted_backend import Peer, eventually
from tests.unit.authorization.conftest import call
from tests.unit.authorization.opa.conftest import ALLOW, StandInOpa, decided, http


async def test_connection_is_kept_for_the_next_decision() -> None:
    async with StandInOpa.answering(*[decided()] * 5) as opa:
        engine = opa.engine()
        for _ in range(5):
            assert (await engine.decide(call())).allow
        assert opa.connections == 1
        assert engine._client.counts() == (1, 1)
        engine.close()
        await eventually(lambda: opa.open == 0)


async def test_kept_connection_that_the_server_has_closed_is_not_used() -> None:
    async with StandInOpa.answering(decided()) as opa:
        engine = opa.engine()
        for number in range(3):
            assert (await engine.decide(call())).allow
            await eventually(lambda: opa.open == 0)
            assert opa.connections == number + 1
        assert len(opa.requests) == 3


async def test_kept_connection_closed_before_a_byte_of_the_answer_is_tried_once_anew() -> None:
    asked = 0

    async def script(peer: Peer) -> None:
        nonlocal asked
        await peer.request()
        asked += 1
        await peer.send(decided())
        await peer.request()
        asked += 1

    async with StandInOpa(script) as opa:
        engine = opa.engine(connections=1)
        assert (await engine.decide(call())).allow
        assert (await engine.decide(call())).allow
        assert (opa.connections, asked) == (2, 3)


async def test_kept_connection_broken_in_the_answer_is_not_tried_anew() -> None:
    async with StandInOpa.answering(decided(), decided()[:20]) as opa:
        engine = opa.engine()
        assert (await engine.decide(call())).allow
        with pytest.raises(UnavailableError):
            await engine.decide(call())
        assert opa.connections == 1


async def test_new_connection_closed_without_an_answer_is_not_tried_again() -> None:
    async def closing(peer: Peer) -> None:
        await peer.request()

    async with StandInOpa(closing) as opa:
        with pytest.raises(UnavailableError) as caught:
            await opa.engine().decide(call())
        assert "without an answer" in str(caught.value.__cause__)
        assert opa.connections == 1


async def test_bytes_after_an_answer_are_never_the_next_answer() -> None:
    """A server that says more than it was asked does not decide the call after."""
    deny = {**ALLOW, "allow": False, "reasons": ["no"]}

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(decided(deny) + decided())
        await peer.left()

    async with StandInOpa(script) as opa:
        engine = opa.engine()
        for number in range(3):
            assert (await engine.decide(call())).reasons == ("no",)
            assert opa.connections == number + 1


async def test_late_answer_is_not_taken_for_the_next_question() -> None:
    release = asyncio.Event()
    deny = {**ALLOW, "allow": False, "reasons": ["second"]}

    async def script(peer: Peer) -> None:
        await peer.request()
        if opa.connections == 1:
            await release.wait()
            await peer.send(decided())
        await peer.send(decided(deny))

    async with StandInOpa(script) as opa:
        engine = opa.engine(timeout_seconds=0.3)
        with pytest.raises(UnavailableError):
            await engine.decide(call())
        release.set()
        assert (await engine.decide(call())).reasons == ("second",)


async def test_decisions_wait_for_a_connection_and_never_open_more_than_they_may() -> None:
    most = 0

    async def script(peer: Peer) -> None:
        nonlocal most
        while True:
            await peer.request()
            most = max(most, opa.open)
            await asyncio.sleep(0.001)
            await peer.send(decided())

    async with StandInOpa(script) as opa:
        engine = opa.engine(connections=3)
        decisions = await asyncio.gather(*(engine.decide(call()) for _ in range(100)))
        assert all(decision.allow for decision in decisions)
        assert most == opa.connections == 3


async def test_exhausted_pool_is_unavailable_at_the_deadline() -> None:
    async def silent(peer: Peer) -> None:
        await peer.left()

    async with StandInOpa(silent) as opa:
        engine = opa.engine(connections=1, timeout_seconds=0.3)
        first = asyncio.create_task(engine.decide(call()))
        await eventually(lambda: opa.open == 1)
        engine._timeout = 0.02
        with pytest.raises(UnavailableError) as caught:
            await engine.decide(call())
        assert "all 1 connections are in use" in str(caught.value.__cause__)
        with pytest.raises(UnavailableError):
            await first


async def test_connections_that_fail_make_room_for_others() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(decided() if opa.connections > 10 else b"garbage\r\n\r\n")

    async with StandInOpa(script) as opa:
        engine = opa.engine(connections=2)
        results = await asyncio.gather(*(engine.decide(call()) for _ in range(20)), return_exceptions=True)
        assert sum(isinstance(result, UnavailableError) for result in results) == 10
        assert all(isinstance(result, UnavailableError) or result.allow for result in results)  # type: ignore[union-attr]
        await eventually(lambda: engine._client.counts()[0] <= 2)


async def test_cancelled_decision_cuts_its_connection_and_makes_room() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if opa.connections == 1:
            await peer.left()
        await peer.send(decided())
        await peer.left()

    async with StandInOpa(script) as opa:
        engine = opa.engine(connections=1)
        first = asyncio.create_task(engine.decide(call()))
        await eventually(lambda: opa.open == 1)
        second, third = (asyncio.create_task(engine.decide(call())) for _ in range(2))
        await asyncio.sleep(0)
        second.cancel()
        first.cancel()
        assert (await third).allow
        await asyncio.gather(first, second, return_exceptions=True)


async def test_closed_engine_decides_nothing_any_more() -> None:
    async def silent(peer: Peer) -> None:
        await peer.left()

    async with StandInOpa(silent) as opa:
        engine = opa.engine(connections=1)
        waiting = [asyncio.create_task(engine.decide(call())) for _ in range(3)]
        await eventually(lambda: opa.open == 1)
        engine.close()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(result, UnavailableError) for result in results)
        with pytest.raises(UnavailableError):
            await engine.decide(call())


async def test_connection_closed_by_the_answer_is_not_kept() -> None:
    closing = decided().replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1)
    async with StandInOpa.answering(closing, http("{}")) as opa:
        engine = opa.engine()
        assert (await engine.decide(call())).allow
        assert (await engine.decide(call())).allow
        assert opa.connections == 2


async def test_unix_socket_is_asked(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, _ = await Peer(reader, writer).request()
        assert b"\r\nhost: opa\r\n" in head
        writer.write(decided())
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, tmp_path / "s")
    async with server:
        engine = OpaEngine(f"unix://{tmp_path}/s", timeout_seconds=20, expected_revision="r1")
        assert (await engine.decide(call())).allow
        engine.close()
