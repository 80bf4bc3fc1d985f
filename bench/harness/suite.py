"""The comparison: every target gets the same loads in rounds, and the raw numbers go to one JSON file.

Run as `python -m harness.suite` from `bench/`; `bench/run.sh` installs what it needs and does so.
"""

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from peers import nginx
from peers.base import CALLS_MODEL, STREAMS_MODEL, Lane, Peer, Running, World
from peers.envoy import EnvoyProxy
from peers.ferrogw import Ferrogw
from peers.govgateway import Govgateway
from peers.litellm import LiteLLM
from peers.nginx import NginxProxy
from peers.portkey import Portkey

from harness import machine, pki
from harness.load import Generator, Load, measure, settle, smoke
from harness.machine import Layout
from harness.metrics import stage_counters
from harness.processes import BenchError, Program, free_ports, listening
from harness.sidecar import Sidecar

BENCH = Path(__file__).resolve().parent.parent
PEERS: tuple[Peer, ...] = (Govgateway(), NginxProxy(), EnvoyProxy(), Ferrogw(), Portkey(), LiteLLM())
DIRECT = "direct"

STREAM_EVENTS = 64
STREAM_PACE_SECONDS = 0.05
STREAM_SECONDS = STREAM_EVENTS * STREAM_PACE_SECONDS

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long everything takes, seconds where not said.

    Attributes:
        rounds: rounds with one worker.
        rounds_two: rounds with two workers, at saturation only.
        saturate: measured time at saturation.
        rate: measured time at the fixed rate.
        stream: measured time with streams open.
        connections_per_worker: connections at saturation, per worker.
        streams: streams open at the same time.
        requests_per_second: the fixed rate.
        warmup: time before every measured time.
        heat: time at saturation before the first round, for those that compile while they run.
    """

    rounds: int
    rounds_two: int
    saturate: float
    rate: float
    stream: float
    connections_per_worker: int = 32
    streams: int = 500
    requests_per_second: float = 200.0
    warmup: float = 1.0
    heat: float = 3.0

    def loads(self, workers: int) -> list[tuple[str, Load]]:
        """Return the loads of one round as (lane, load)."""
        full = Load("saturate", self.connections_per_worker * workers, self.warmup, self.saturate)
        if workers > 1:
            return [("calls", full)]
        return [
            ("calls", full),
            ("calls", Load("rate", 32, self.warmup, self.rate, self.requests_per_second)),
            ("streams", Load("stream", self.streams, STREAM_SECONDS, self.stream)),
        ]


FULL = Plan(rounds=3, rounds_two=2, saturate=3.0, rate=5.0, stream=1.5 * STREAM_SECONDS)
QUICK = Plan(rounds=1, rounds_two=1, saturate=2.0, rate=3.0, stream=STREAM_SECONDS, warmup=0.5, heat=1.5)


class Suite:
    """One run of the comparison."""

    def __init__(self, work: Path, output: Path, peers: Sequence[Peer], plan: Plan, say: Callable[[str], None]) -> None:
        self._work = work
        self._output = output
        self._peers = peers
        self._plan = plan
        self._say = say
        self.runs: list[Json] = []

    def run(self) -> Json:
        """Measure everything and return the raw numbers."""
        began = time.time()
        versions = {}
        with self._world(Layout.for_workers(1)) as (world, _):
            for peer in self._peers:
                versions[peer.name] = {
                    "title": peer.title,
                    "version": peer.version(world),
                    "setup": peer.setup,
                }
        for workers in (1, 2):
            self._measure(workers)
        return {
            "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
            "seconds": round(time.time() - began),
            "machine": machine.describe(),
            "network": "own namespace" if machine.only_loopback() else "the host's",
            "plan": asdict(self._plan) | {"stream_events": STREAM_EVENTS, "stream_pace": STREAM_PACE_SECONDS},
            "backend": f"nginx {nginx.version()}",
            "targets": versions,
            "runs": self.runs,
        }

    @contextlib.contextmanager
    def _world(self, layout: Layout) -> Iterator[tuple[World, list[Program]]]:
        """Start the two backends and yield what the peers need to know."""
        server, client = pki.create(self._output / "pki")
        calls_port, streams_port = free_ports(2)
        tools = self._work / "tools" / "bin"
        world = World(
            project=BENCH.parent,
            work=self._output,
            tools=tools,
            litellm=self._work / "litellm" / "bin",
            node=tools / "node",
            portkey=self._work / "portkey/node_modules/@portkey-ai/gateway/build/start-server.js",
            calls_port=calls_port,
            streams_port=streams_port,
            server=server,
            client=client,
        )
        backends: list[Program] = []
        try:
            backends.append(nginx.start_backend(self._output, calls_port, layout.harness_workers, layout.harness))
            streamer = Program(
                "the streaming backend",
                [
                    *(self._work / "bin" / "streamer", "-addr", f"127.0.0.1:{streams_port}"),
                    *("-events", str(STREAM_EVENTS), "-pace", f"{STREAM_PACE_SECONDS}s"),
                ],
                cores=layout.harness,
                log=self._output / "streamer.log",
                nice=machine.HARNESS_NICE,
            )
            backends.append(streamer)
            streamer.wait_until(lambda: listening(streams_port), 10)
            yield world, backends
        finally:
            for backend in backends:
                backend.stop()

    def _measure(self, workers: int) -> None:
        """Start every target with that many workers and give all of them all loads, in rotating rounds."""
        layout = Layout.for_workers(workers)
        with contextlib.ExitStack() as stack:
            world, backends = stack.enter_context(self._world(layout))
            targets = {DIRECT: Running([], Lane([world.calls_port]), Lane([world.streams_port]))}
            for peer in self._peers:
                self._say(f"starting {peer.title}, {workers} worker{'s'[: workers - 1]}")
                targets[peer.name] = peer.start(world, workers, layout.target)
                stack.callback(targets[peer.name].stop)
            concurrency = layout.harness_workers
            sidecar = Sidecar(world.tools / "envoy", self._output, layout.harness, concurrency)
            stack.callback(sidecar.stop)
            sidecar.start(targets)
            generator = Generator(self._work / "bin" / "loadgen", self._output, layout)
            self._rounds(workers, targets, sidecar, generator, backends)

    def _rounds(
        self,
        workers: int,
        targets: dict[str, Running],
        sidecar: Sidecar,
        generator: Generator,
        backends: Sequence[Program],
    ) -> None:
        bodies = {
            "calls": generator.body(CALLS_MODEL, stream=False),
            "streams": generator.body(STREAMS_MODEL, stream=True),
        }
        expected = {"calls": '"total_tokens"', "streams": "data: {"}

        def harness() -> list[int]:
            return [*sidecar.pids(), *(pid for program in backends for pid in program.pids())]

        names = list(targets)
        for name in names:
            smoke(generator, sidecar.port(name, "calls"), bodies["calls"], expected["calls"], name)
            smoke(generator, sidecar.port(name, "streams"), bodies["streams"], expected["streams"], name)
            heat = Load("saturate", self._plan.connections_per_worker * workers, 0.0, self._plan.heat)
            generator.send(heat, sidecar.port(name, "calls"), bodies["calls"])
        for number in range(self._plan.rounds if workers == 1 else self._plan.rounds_two):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                running = targets[name]
                port = running.metrics_port
                for lane, load in self._plan.loads(workers):
                    running.check()
                    settle(running.pids)
                    measured = measure(
                        generator,
                        load,
                        sidecar.port(name, lane),
                        bodies[lane],
                        target=running.pids,
                        harness=harness,
                        expect=expected[lane],
                        counters=None if port is None else partial(stage_counters, port),
                    )
                    self.runs.append({"target": name, "workers": workers, "round": number + 1, **measured})
                    self._say(_line(self.runs[-1]))


def _line(run: Json) -> str:
    """Return one run as a line for a person who waits."""
    shown = "no answer"
    if run["mode"] == "saturate":
        shown = f"{run['requests_per_second']:9,.0f} requests/s"
    elif run["mode"] == "rate" and "latency_us" in run:
        latency = run["latency_us"]
        shown = f"median {latency['p50'] / 1000:6.2f} ms, p99 {latency['p99'] / 1000:6.2f} ms"
    elif "first_event_us" in run:
        first = run["first_event_us"]["p50"] / 1000
        shown = f"{run.get('events_per_second', 0):9,.0f} chunks/s, first after {first:.1f} ms"
    errors = f", {run['errors']} errors: {run.get('first_error')}" if run["errors"] else ""
    return (
        f"  round {run['round']}  {run['target']:<11} {run['workers']} worker  {run['mode']:<8} {shown}; "
        f"{run['cores_used']:.2f} cores (around it {run['harness_cores_used']:.2f}){errors}"
    )


def main() -> int:
    """Run the suite as the command line says; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [peer.name for peer in PEERS]
    parser.add_argument("--work", type=Path, required=True, help="directory of the installed peers")
    parser.add_argument("--output", type=Path, required=True, help="directory for configurations, logs and results")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int, help="number of rounds")
    parser.add_argument("--without", action="append", default=[], choices=names, help="leave a target out")
    arguments = parser.parse_args()
    peers = [peer for peer in PEERS if peer.name not in arguments.without]
    plan = QUICK if arguments.quick else FULL
    if arguments.rounds:
        plan = Plan(**(asdict(plan) | {"rounds": arguments.rounds, "rounds_two": arguments.rounds}))
    with contextlib.suppress(PermissionError):
        machine.raise_loopback()
    arguments.output.mkdir(parents=True, exist_ok=True)
    # A termination from outside ends the peers too, as an interrupt does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    suite = Suite(arguments.work, arguments.output, peers, plan, lambda line: print(line, flush=True))
    try:
        raw = suite.run()
    except KeyboardInterrupt:
        print("The benchmark was interrupted.", file=sys.stderr)
        return 130
    except (BenchError, subprocess.SubprocessError) as error:
        print(f"The benchmark stopped: {error}", file=sys.stderr)
        return 1
    raw["left_out"] = arguments.without
    path = arguments.output / "raw.json"
    path.write_text(json.dumps(raw, indent=1))
    print(f"raw numbers: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
