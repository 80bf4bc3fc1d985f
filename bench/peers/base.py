"""What a driver of a peer gives the benchmark: how to start it, where it listens, how callers reach it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from harness.pki import Credentials
from harness.processes import Cores, Program

# Models that the peers' price lists know: a stranger would cost some of them a search through the whole list.
CALLS_MODEL = "gpt-4o-mini"
STREAMS_MODEL = "llama-3.1-8b-instant"


@dataclass(frozen=True, slots=True)
class World:
    """What all peers share in one run.

    Attributes:
        project: root of the checkout.
        work: directory for configurations and logs.
        tools: `bin` directory of the environment that holds envoy and ferrogw.
        litellm: `bin` directory of LiteLLM's environment.
        node: the node executable.
        portkey: start script of Portkey's gateway.
        calls_port: port of the backend with the fixed answer.
        streams_port: port of the backend that streams.
        server: credentials of the bare proxies.
        client: the sidecar's credentials towards the bare proxies.
    """

    project: Path
    work: Path
    tools: Path
    litellm: Path
    node: Path
    portkey: Path
    calls_port: int
    streams_port: int
    server: Credentials
    client: Credentials

    @property
    def calls_url(self) -> str:
        """Base URL of the backend with the fixed answer."""
        return f"http://127.0.0.1:{self.calls_port}/v1"

    @property
    def streams_url(self) -> str:
        """Base URL of the backend that streams."""
        return f"http://127.0.0.1:{self.streams_port}/v1"

    def directory(self, name: str) -> Path:
        """Return a directory for one program's files, made if needed."""
        path = self.work / name
        path.mkdir(parents=True, exist_ok=True)
        return path


@dataclass(frozen=True, slots=True)
class Lane:
    """One way into a peer: ports of equal servers, and headers the sidecar adds."""

    ports: Sequence[int]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Running:
    """A peer that accepts requests.

    Attributes:
        programs: its programs; their whole process trees are measured.
        calls: way in for calls with a fixed answer.
        streams: way in for streams.
        tls: credentials of the sidecar towards it; None for plain HTTP.
        metrics_port: port of Prometheus metrics with the times of its stages, if it has any.
    """

    programs: Sequence[Program]
    calls: Lane
    streams: Lane
    tls: Credentials | None = None
    metrics_port: int | None = None

    def pids(self) -> list[int]:
        """Return all processes of the peer."""
        return [pid for program in self.programs for pid in program.pids()]

    def check(self) -> None:
        """Raise BenchError if one of the programs has ended."""
        for program in self.programs:
            program.check()

    def stop(self) -> None:
        """End all programs."""
        for program in self.programs:
            program.stop()


class Peer(Protocol):
    """A gateway or proxy to measure."""

    name: str
    """Short name, for the command line and the raw numbers."""
    title: str
    """Name in the report."""
    setup: str
    """How it is configured, one sentence for the report."""

    def version(self, world: World) -> str:
        """Return its version; raise BenchError if it is not installed."""
        ...

    def start(self, world: World, workers: int, cores: Cores) -> Running:
        """Start it with that many workers on those cores and wait until it listens."""
        ...
