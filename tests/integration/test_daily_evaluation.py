"""A day that is over is evaluated without a command, once, by a process that calls do not wait for."""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from structlog.testing import capture_logs

from compliance.daily import DailyResults
from gateway.config import load_config
from gateway.daily_evaluation import DailyEvaluation
from tests.integration.conftest import MODELS
from tests.support.calls import eventually
from tests.support.faked_time import FakedTime
from tests.support.running_gateway import RunningGateway, govctl

DAY_NS = 86_400 * 10**9


class Tomorrow:
    """A clock that is so many days ahead, at half past noon."""

    def __init__(self, days: int = 1, hour: int = 12) -> None:
        today = time.time_ns() // DAY_NS
        self.now = (today + days) * DAY_NS + hour * 3600 * 10**9 + 1800 * 10**9

    def __call__(self) -> int:
        return self.now


@pytest.fixture(scope="module")
def gateway(example_backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    running = RunningGateway(tmp_path_factory.mktemp("daily") / "home", example_backend, MODELS)
    running.start()
    agent = running.register("agent/daily")
    with httpx.Client(base_url=f"{running.base_url}/", verify=agent.tls(), trust_env=False) as client:
        asked = {"model": MODELS[0], "messages": [{"role": "user", "content": "hello"}]}
        assert client.post("chat/completions", json=asked).status_code == 200
    yield running
    running.end()


def results(gateway: RunningGateway) -> list[Path]:
    return sorted((load_config(gateway.config_path).state_dir / "compliance").glob("*.json"))


async def evaluated(gateway: RunningGateway, clock: Tomorrow, until: Any, seconds: float = 60) -> list[Any]:
    """Run the evaluation until something holds; return what it logged."""
    config = load_config(gateway.config_path)
    with capture_logs() as logs:
        task = asyncio.create_task(DailyEvaluation(lambda: config, gateway.config_path, clock).run())
        try:
            async with asyncio.timeout(seconds):
                while not until(logs):
                    assert not task.done()
                    await asyncio.sleep(0.05)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    return list(logs)


def told(event: str) -> Any:
    return lambda logs: any(each["event"] == event for each in logs)


def test_a_day_is_evaluated_once_it_is_over_and_a_control_that_turned_red_goes_on_record_once(gateway):
    day = datetime.now(UTC).date()
    logs = asyncio.run(evaluated(gateway, Tomorrow(), told("day-evaluated")))
    if day != datetime.now(UTC).date():
        pytest.skip("the day changed in the middle of this test")
    assert [each["day"] for each in logs if each["event"] == "day-evaluated"] == [str(day)]
    assert [path.stem for path in results(gateway)] == [str(day)]
    failed = [each for each in gateway.records(2000) if each["type"] == "control.failed"]
    red = [each for each in json.loads(results(gateway)[0].read_text())["controls"] if each["binding"]]
    assert len(failed) == sum(each["status"] == "fail" for each in red) > 0
    assert logs[-1]["turned_red"] == len(failed)
    assert {each["principal"] for each in failed} == {"daily"}

    before = results(gateway)[0].stat().st_mtime_ns
    with pytest.raises(TimeoutError):
        asyncio.run(evaluated(gateway, Tomorrow(), told("day-evaluated"), seconds=2))
    assert results(gateway)[0].stat().st_mtime_ns == before
    trend = json.loads(govctl(gateway.directory, "compliance", "trend", "--json").stdout)
    assert [each["day"] for each in trend] == [str(day)]


def test_what_is_cut_in_the_middle_leaves_nothing_and_is_done_the_next_time(gateway):
    for path in results(gateway):
        path.unlink()
    with pytest.raises(TimeoutError):
        asyncio.run(evaluated(gateway, Tomorrow(), lambda _logs: False, seconds=0.5))
    assert results(gateway) == []
    asyncio.run(evaluated(gateway, Tomorrow(), told("day-evaluated")))
    assert len(results(gateway)) == 1


def test_a_day_that_was_evaluated_before_it_was_over_is_evaluated_again(gateway):
    for path in results(gateway):
        path.unlink()
    day = datetime.now(UTC).date()
    govctl(gateway.directory, "compliance", "record", "--day", str(day), check=False)
    assert [path.stem for path in results(gateway)] == [str(day)]
    assert json.loads(results(gateway)[0].read_text())["whole"] is False
    asyncio.run(evaluated(gateway, Tomorrow(), told("day-evaluated")))
    assert json.loads(results(gateway)[0].read_text())["whole"] is True


def test_two_evaluations_at_once_are_refused(gateway):
    state = load_config(gateway.config_path).state_dir
    with DailyResults(state / "compliance").alone():
        done = govctl(gateway.directory, "compliance", "record", check=False)
    assert done.returncode == 1
    assert "another process evaluates a day" in done.stderr


def test_a_day_is_evaluated_against_the_frameworks_that_are_named(gateway):
    for path in results(gateway):
        path.unlink()
    gateway.edit_config({"compliance": {"daily": {"frameworks": ["gdpr"]}}})
    try:
        asyncio.run(evaluated(gateway, Tomorrow(), told("day-evaluated")))
    finally:
        gateway.edit_config({"compliance": {"daily": {"frameworks": []}}})
    assert {each["framework"] for each in json.loads(results(gateway)[0].read_text())["controls"]} == {"gdpr"}


@pytest.mark.interop
@pytest.mark.timeout(240)
def test_the_gateway_does_it_by_itself_and_again_where_it_was_killed_in_the_middle(example_backend, tmp_path):
    day = datetime.now(UTC).replace(hour=23, minute=50, second=0, microsecond=0) + timedelta(days=1)
    with FakedTime(tmp_path, day) as faked:
        gateway = RunningGateway(tmp_path / "home", example_backend, MODELS)
        gateway.start()
        try:
            faked.forward_to(day + timedelta(hours=1))
            process = eventually("a day is evaluated", lambda: evaluating(gateway), 60)
            assert os.getpriority(os.PRIO_PROCESS, process) > os.getpriority(os.PRIO_PROCESS, gateway.pid)
            os.kill(gateway.pid, signal.SIGKILL)
            eventually("it ends with the gateway", lambda: not Path(f"/proc/{process}/cmdline").exists())
            assert results(gateway) == []
            gateway.kill_everything()
            gateway.start()
            eventually("the day has its result", lambda: results(gateway), 60)
            assert [path.stem for path in results(gateway)] == [str(day.date())]
            told_by = {each["principal"] for each in gateway.records(2000) if each["type"] == "control.failed"}
            assert told_by == {"daily"}
            eventually("the metric says so", lambda: evaluated_at(gateway) > 0)
            assert "govgateway_compliance_evaluation_failures_total 0.0" in gateway.metrics()
            assert gateway.stop() == 0
            gateway.start()
            eventually("the metric says so after a restart too", lambda: evaluated_at(gateway) > 0)
        finally:
            gateway.end()


def evaluating(gateway: RunningGateway) -> int:
    """Return the process that evaluates a day; 0 if there is none."""
    for pid in gateway.children():
        with contextlib.suppress(FileNotFoundError):
            if b"\0compliance\0record\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
    return 0


def evaluated_at(gateway: RunningGateway) -> float:
    name = "govgateway_compliance_evaluated_timestamp_seconds "
    return max(float(line.removeprefix(name)) for line in gateway.metrics().splitlines() if line.startswith(name))


def test_a_day_that_cannot_be_evaluated_is_told_with_the_reason_and_not_kept(gateway, tmp_path):
    for path in results(gateway):
        path.unlink()
    config = gateway.config_path.read_text()
    broken = gateway.config_path.with_name("broken.yaml")
    broken.write_text(yaml.safe_dump({**yaml.safe_load(config), "compliance": {"catalogue": ["/nowhere"]}}))
    loaded = load_config(gateway.config_path)

    async def run() -> list[Any]:
        with capture_logs() as logs:
            task = asyncio.create_task(DailyEvaluation(lambda: loaded, broken, Tomorrow()).run())
            async with asyncio.timeout(60):
                while not logs:
                    await asyncio.sleep(0.05)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        return list(logs)

    logs = asyncio.run(run())
    assert logs[0]["event"] == "day-not-evaluated"
    assert "/nowhere" in logs[0]["detail"]
    assert results(gateway) == []


@pytest.mark.parametrize(
    ("days", "hour", "due"),
    [(0, 12, None), (1, -1, None), (1, 12, 0), (3, 12, 0)],
    ids=["today", "before the time of day", "the day after", "made up for"],
)
def test_which_day_is_due(gateway, days, hour, due):
    for path in results(gateway):
        path.unlink()
    config = load_config(gateway.config_path)
    clock = Tomorrow(days, max(hour, 0))
    if hour < 0:
        clock.now -= 1800 * 10**9
    found = DailyEvaluation(lambda: config, gateway.config_path, clock)._due()
    today = datetime.now(UTC).date()
    assert found == (None if due is None else date.fromordinal(today.toordinal() + due))
