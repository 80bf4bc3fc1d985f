"""Envoy as a bare mutual-TLS proxy: the other limit to compare with."""

import re
import subprocess

from harness import envoy
from harness.processes import BenchError, Cores, Program, free_ports, listening

from peers.base import Lane, Running, World


class EnvoyProxy:
    """Envoy as a bare mutual-TLS proxy."""

    name = "envoy"
    title = "Envoy, bare mutual-TLS proxy"
    setup = "TLS 1.3, client certificate and its SPIFFE ID verified, no access log, no statistics sink."

    def version(self, world: World) -> str:
        """Return Envoy's version."""
        binary = world.tools / "envoy"
        if not binary.exists():
            raise BenchError("Envoy is not installed under bench/.work. Run bench/run.sh, which installs it.")
        output = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
        found = re.search(r"/(\d+\.\d+\.\d+)/", output)
        return found.group(1) if found else output.strip()

    def start(self, world: World, workers: int, cores: Cores) -> Running:
        """Start the proxy."""
        ports = free_ports(2)
        directory = world.directory(f"envoy-{workers}")
        config = envoy.bootstrap(
            [
                envoy.listener("calls", ports[0], tls=world.server),
                envoy.listener("streams", ports[1], tls=world.server),
            ],
            [envoy.cluster("calls", [world.calls_port]), envoy.cluster("streams", [world.streams_port])],
            directory / "envoy.json",
        )
        command = envoy.command(world.tools / "envoy", config, workers)
        program = Program(self.name, command, cores=cores, log=directory / "envoy.log")
        program.wait_until(lambda: all(listening(port) for port in ports), 20)
        return Running([program], Lane(ports[:1]), Lane(ports[1:]), tls=world.client)
