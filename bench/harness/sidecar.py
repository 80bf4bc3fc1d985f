"""The client's sidecar: one Envoy with a plain listener for every lane of every target."""

from collections.abc import Mapping
from pathlib import Path

from peers.base import Lane, Running

from harness import envoy
from harness.machine import HARNESS_NICE
from harness.processes import Cores, Program, free_ports, listening


class Sidecar:
    """An Envoy that speaks mutual TLS to the targets that have it and plain HTTP to the others."""

    def __init__(self, binary: Path, directory: Path, cores: Cores, concurrency: int) -> None:
        self._binary = binary
        self._directory = directory
        self._cores = cores
        self._concurrency = concurrency
        self._program: Program | None = None
        self._ports: dict[tuple[str, str], int] = {}

    def start(self, targets: Mapping[str, Running]) -> None:
        """Start it in front of the targets."""
        lanes: list[tuple[str, str, Running, Lane]] = []
        for name, running in targets.items():
            lanes += [(name, "calls", running, running.calls), (name, "streams", running, running.streams)]
        listeners, clusters = [], []
        for (name, kind, running, lane), port in zip(lanes, free_ports(len(lanes)), strict=True):
            self._ports[name, kind] = port
            listeners.append(envoy.listener(f"{kind}-{name}", port, lane.headers))
            clusters.append(envoy.cluster(f"{kind}-{name}", lane.ports, running.tls))
        config = envoy.bootstrap(listeners, clusters, self._directory / "sidecar.json")
        self._program = Program(
            "the sidecar",
            envoy.command(self._binary, config, self._concurrency),
            cores=self._cores,
            log=self._directory / "sidecar.log",
            nice=HARNESS_NICE,
        )
        self._program.wait_until(lambda: all(listening(port) for port in self._ports.values()), 20)

    def port(self, name: str, kind: str) -> int:
        """Return the port of the listener for a target's calls or streams."""
        return self._ports[name, kind]

    def pids(self) -> list[int]:
        """Return its processes."""
        return self._program.pids() if self._program else []

    def stop(self) -> None:
        """End it."""
        if self._program:
            self._program.stop()
