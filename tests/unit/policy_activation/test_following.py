"""Following a source: what is new is activated, what failed is tried again, what was rolled back from is left."""

import asyncio
from hashlib import sha256

import pytest

from gateway.errors import ConfigError
from gateway.policy_activation.following import Follower, SourceError
from gateway.policy_activation.store import Activation, History


def activation(content: bytes, *, rollback: bool = False) -> Activation:
    return Activation(
        digest=sha256(content).hexdigest(), revision="r", data_digest="d", time=0, by="b", source="s", rollback=rollback
    )


class Stage:
    """A source of one's own, and the activations."""

    name = "the stage"

    def __init__(self) -> None:
        self.answers: list[bytes | Exception | None] = []
        self.history = History()
        self.activated: list[bytes] = []
        self.refuse = ""

    async def fetch(self) -> bytes | None:
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def activate(self, content: bytes, source: str) -> None:
        if self.refuse:
            raise ConfigError(self.refuse)
        self.activated.append(content)
        self.had(activation(content))

    def had(self, *activations: Activation) -> None:
        self.history = History(activations=(*self.history.activations, *activations))


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def follower(stage: Stage) -> Follower:
    return Follower(stage, 0.001, lambda: stage.history, stage.activate)


async def test_what_is_new_is_activated_once(stage, follower):
    stage.answers = [b"one", None, b"one", b"two"]
    assert [await follower.once() for _ in range(4)] == [True, False, False, True]
    assert stage.activated == [b"one", b"two"]


async def test_a_restart_does_not_activate_what_is_active(stage, follower):
    stage.had(activation(b"one"))
    stage.answers = [b"one"]
    assert not await follower.once()


async def test_after_a_rollback_only_what_was_never_active_is_taken(stage, follower):
    stage.had(activation(b"one"), activation(b"two"), activation(b"one", rollback=True))
    stage.answers = [b"two", b"three"]
    assert [await follower.once() for _ in range(2)] == [False, True]
    assert stage.activated == [b"three"]


async def test_failures_are_kept_to_be_shown_and_end_with_the_next_success(stage, follower):
    stage.answers = [SourceError("away"), SourceError("away"), b"one"]
    running = asyncio.create_task(follower.run())
    try:
        async with asyncio.timeout(5):
            while follower.problem != "away":
                await asyncio.sleep(0.001)
            while not stage.activated:
                await asyncio.sleep(0.001)
            while follower.problem:
                await asyncio.sleep(0.001)
    finally:
        running.cancel()


async def test_what_cannot_be_activated_is_said_and_the_next_is_tried(stage, follower):
    stage.refuse = "the signature is not good"
    stage.answers = [b"one"]
    with pytest.raises(ConfigError):
        await follower.once()
    stage.refuse = ""
    stage.answers = [b"two"]
    assert await follower.once()


async def test_what_was_rolled_back_from_is_left_after_a_further_activation_too(stage, follower):
    stage.had(activation(b"one"), activation(b"two"), activation(b"one", rollback=True), activation(b"hotfix"))
    stage.answers = [b"two"]
    assert not await follower.once()
    assert stage.activated == []


async def test_a_defect_does_not_end_the_following_and_is_shown(stage, follower):
    stage.answers = [RuntimeError("a defect"), b"one"]
    running = asyncio.create_task(follower.run())
    try:
        async with asyncio.timeout(5):
            while "RuntimeError" not in follower.problem:
                await asyncio.sleep(0)
            while not stage.activated:
                await asyncio.sleep(0.001)
    finally:
        running.cancel()
