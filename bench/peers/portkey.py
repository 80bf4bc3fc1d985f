"""Portkey's open-source gateway on Node."""

import json
import subprocess
from functools import partial
from pathlib import Path

from harness.processes import BenchError, Cores, Program, free_ports, listening

from peers.base import Lane, Running, World


class Portkey:
    """Portkey gateway."""

    name = "portkey"
    title = "Portkey gateway"
    setup = (
        "Node in production mode, headless; provider and backend chosen by its own request headers, which "
        "the sidecar adds; it has no workers of its own, so two workers are two processes used in turn."
    )

    def version(self, world: World) -> str:
        """Return the versions of the gateway and of Node."""
        package = world.portkey.parent.parent / "package.json"
        if not package.exists():
            raise BenchError("Portkey is not installed under bench/.work. Run bench/run.sh, which installs it.")
        node = subprocess.run([world.node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
        return f"{json.loads(package.read_text())['version']} on Node {node.removeprefix('v')}"

    def start(self, world: World, workers: int, cores: Cores) -> Running:
        """Start one process per worker."""
        directory = world.directory(f"portkey-{workers}")
        ports = free_ports(workers)
        programs: list[Program] = []
        for number, port in enumerate(ports):
            command: list[str | Path] = [world.node, world.portkey, f"--port={port}", "--headless"]
            programs.append(
                Program(
                    self.name,
                    command,
                    cores=cores,
                    log=directory / f"portkey-{number}.log",
                    env={"NODE_ENV": "production"},
                    cwd=directory,
                )
            )
        for program, port in zip(programs, ports, strict=True):
            program.wait_until(partial(listening, port), 30)
        return Running(programs, Lane(ports, _headers(world.calls_url)), Lane(ports, _headers(world.streams_url)))


def _headers(url: str) -> dict[str, str]:
    return {
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": url,
        "authorization": "Bearer not-checked",
    }
