"""Sends one load to one target and measures what the target's processes spent on it."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.machine import HARNESS_NICE, Layout
from harness.processes import BenchError, busy_seconds, confine, cpu_seconds, memory, placed

Json = dict[str, Any]
Pids = Callable[[], list[int]]

CONVERSATION = [
    {
        "role": "system",
        "content": "You are a careful assistant. Answer in one short sentence, in plain words.",
    },
    {
        "role": "user",
        "content": "Which animal does the pangram jump over, and what colour is the one that jumps?",
    },
]


@dataclass(frozen=True, slots=True)
class Load:
    """One load.

    Attributes:
        mode: saturate, rate or stream.
        connections: connections that the generator holds open.
        warmup: seconds before the measured time.
        seconds: measured time.
        rate: requests per second, in rate mode.
    """

    mode: str
    connections: int
    warmup: float
    seconds: float
    rate: float = 200.0


class Generator:
    """The load generator."""

    def __init__(self, binary: Path, directory: Path, layout: Layout) -> None:
        self._binary = binary
        self._directory = directory
        self.layout = layout

    def body(self, model: str, *, stream: bool) -> Path:
        """Return a file with the request for a model."""
        request: Json = {"model": model, "messages": CONVERSATION, "max_tokens": 64, "temperature": 0}
        if stream:
            request |= {"stream": True, "stream_options": {"include_usage": True}}
        path = self._directory / f"request-{model}.json"
        path.write_text(json.dumps(request))
        return path

    def send(self, load: Load, port: int, body: Path, expect: str = "") -> tuple[Json, float]:
        """Send the load; return what the generator measured and the CPU seconds it took itself.

        Raises:
            BenchError: the generator failed.
        """
        command = [
            *placed(self.layout.around(load.mode), HARNESS_NICE),
            *(str(self._binary), "-mode", load.mode, "-addr", f"127.0.0.1:{port}", "-body", str(body)),
            *("-connections", str(load.connections), "-rate", str(load.rate), "-expect", expect),
            *("-warmup", f"{load.warmup}s", "-duration", f"{load.seconds}s"),
        ]
        before = os.times()
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=load.warmup + load.seconds + 90,
        )
        after = os.times()
        if done.returncode != 0:
            raise BenchError(f"the load generator failed: {done.stderr.strip()}")
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        return json.loads(done.stdout), spent


def measure(
    generator: Generator,
    load: Load,
    port: int,
    body: Path,
    *,
    target: Pids,
    harness: Pids,
    expect: str = "",
    counters: Callable[[], Mapping[str, float]] | None = None,
) -> Json:
    """Send the load and return the measurements of both sides as one JSON object."""
    pids, around = target(), harness()
    confine(around, generator.layout.around(load.mode))
    counted = dict(counters()) if counters else {}
    began, busy = time.monotonic(), busy_seconds()
    spent, spent_around = cpu_seconds(pids), cpu_seconds(around)
    measured, spent_generator = generator.send(load, port, body, expect)
    wall, busy = time.monotonic() - began, busy_seconds() - busy
    spent, spent_around = cpu_seconds(target()) - spent, cpu_seconds(around) - spent_around + spent_generator
    result = measured | {
        "cpu_seconds": round(spent, 3),
        "cores_used": round(spent / wall, 3),
        "harness_cores_used": round(spent_around / wall, 3),
        "stranger_cores_used": round(max(0.0, busy - spent - spent_around) / wall, 3),
        "memory": asdict(memory(pids)),
    }
    if counters:
        result["counters"] = {name: value - counted.get(name, 0.0) for name, value in counters().items()}
    return result


def settle(target: Pids, longest: float = 20.0) -> None:
    """Wait until the processes are idle, so that one load's remains do not burden the next."""
    limit = time.monotonic() + longest
    quiet = 0
    while quiet < 2 and time.monotonic() < limit:
        spent = cpu_seconds(target())
        time.sleep(0.2)
        quiet = quiet + 1 if cpu_seconds(target()) - spent < 0.02 else 0


def smoke(generator: Generator, port: int, body: Path, expect: str, name: str) -> None:
    """Send a few requests and raise BenchError, quoting the answer, if one is wrong."""
    measured, _ = generator.send(Load("saturate", 2, 0.0, 0.3), port, body, expect)
    if measured["errors"] or not measured["requests_total"]:
        raise BenchError(f"{name} does not answer as expected: {measured.get('first_error', 'no answer')}")
