"""A generation for every worker or for none: who refuses, who is silent, who ends and who starts meanwhile."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway import reloading
from gateway.errors import ConfigError
from gateway.reloading import WorkerReload


@dataclass
class Worker:
    index: int
    pid: int
    state: str = "ready"


@dataclass
class Workers:
    """Worker processes as the supervisor shows them (a fake: the real ones are in the integration tests)."""

    workers: list[Worker] = field(default_factory=lambda: [Worker(0, 100), Worker(1, 101)])
    sent: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[int, Any] = field(default_factory=dict)
    reload: WorkerReload | None = None

    def broadcast(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        done = {"prepare": "prepared", "commit": "reloaded"}.get(message["type"])
        for worker in self.workers:
            answer = self.answers.get(worker.index, lambda m: {"type": done, "id": m["id"]})(message)
            if done and answer:
                asyncio.get_running_loop().call_soon(self.reload.heard, worker.index, answer)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Workers:
    monkeypatch.setattr(reloading, "RELOAD_SECONDS", 0.3)
    made = Workers()
    made.reload = WorkerReload(lambda: made)  # type: ignore[arg-type, return-value]
    return made


def refuse(message: dict[str, Any]) -> dict[str, Any]:
    return {"type": "refused", "id": message["id"], "detail": "The bundle is gone."}


def silent(_message: dict[str, Any]) -> None:
    return None


async def test_all_prepare_and_then_all_take(workers):
    number = await workers.reload.prepare({"policy": "d1"})
    assert await workers.reload.commit(number, {"tls": "t"}) == 2
    assert [each["type"] for each in workers.sent] == ["prepare", "commit"]
    assert workers.sent[1] == {"type": "commit", "id": number, "policy": "d1", "tls": "t"}


async def test_one_that_refuses_stops_it_for_all_and_its_reason_is_told(workers):
    workers.answers[1] = refuse
    with pytest.raises(ConfigError, match=r"Worker 1 cannot take it: The bundle is gone\."):
        await workers.reload.prepare({"policy": "d1"})
    assert [each["type"] for each in workers.sent] == ["prepare", "abort"]


async def test_one_that_is_silent_stops_it_for_all(workers):
    workers.answers[0] = silent
    with pytest.raises(ConfigError, match="Worker 0 did not answer"):
        await workers.reload.prepare({"policy": "d1"})
    assert workers.sent[-1]["type"] == "abort"


async def test_one_that_ends_meanwhile_is_not_waited_for(workers):
    workers.answers[0] = silent

    async def end() -> None:
        await asyncio.sleep(0.05)
        workers.workers[0].pid = 200  # another process in its place: it starts with what it is told at its start

    ending = asyncio.create_task(end())
    await workers.reload.prepare({"policy": "d1"})
    await ending


async def test_a_worker_that_is_still_starting_is_told_but_not_waited_for(workers):
    workers.workers[0].state = "starting"
    workers.answers[0] = silent
    number = await workers.reload.prepare({"policy": "d1"})
    assert await workers.reload.commit(number, {}) == 1


async def test_one_that_does_not_take_what_it_prepared_is_counted_out(workers):
    number = await workers.reload.prepare({"policy": "d1"})
    workers.answers[1] = refuse
    assert await workers.reload.commit(number, {}) == 1


async def test_replies_to_another_question_count_for_nothing(workers):
    def stale(message: dict[str, Any]) -> dict[str, Any]:
        return {"type": "prepared", "id": message["id"] - 1}

    workers.answers[0] = stale
    with pytest.raises(ConfigError, match="did not answer"):
        await workers.reload.prepare({"policy": "d1"})


async def test_before_any_worker_runs_there_is_nobody_to_ask():
    reload = WorkerReload(lambda: None)
    assert await reload.commit(await reload.prepare({}), {}) == 0
