"""govgateway itself, everything on: mutual TLS, Rego policy, quotas, durable audit."""

import subprocess
from pathlib import Path
from typing import Any

import yaml
from harness.pki import TRUST_DOMAIN, Credentials
from harness.processes import BenchError, Cores, Program, free_ports, listening

from peers.base import CALLS_MODEL, STREAMS_MODEL, Lane, Running, World

AGENT = f"spiffe://{TRUST_DOMAIN}/agent/load"
GATEWAY = f"spiffe://{TRUST_DOMAIN}/gateway"
ENOUGH = 1_000_000_000


class Govgateway:
    """govgateway."""

    name = "govgateway"
    title = "govgateway"
    setup = (
        "as `govctl init` writes it: mutual TLS 1.3 with SPIFFE IDs, Rego policy, quotas reserved and "
        "settled for every call (their amounts raised out of the way), the intent durable before the answer."
    )

    def version(self, world: World) -> str:
        """Return the version of the checkout."""
        return _govctl(world, "--version").split()[-1]

    def start(self, world: World, workers: int, cores: Cores) -> Running:
        """Create a trust domain, admit the sidecar's agent and start the gateway."""
        directory = world.directory(f"govgateway-{workers}")
        home = directory / "home"
        config = home / "govgateway.yaml"
        _govctl(
            world,
            *("init", "--dir", home, "--trust-domain", TRUST_DOMAIN, "--backend", world.calls_url),
            *("--model", CALLS_MODEL, "--model", STREAMS_MODEL),
        )
        port, admin, operations = free_ports(3)
        _configure(config, world, port, admin, operations)
        _raise_quotas(home / "policies" / "govgateway" / "limits" / "data.yaml")
        _govctl(
            world,
            *("agent", "register", AGENT, "--team", "research", "--owner", "bench", "--purpose", "load"),
            *("--config", config),
        )
        svid = directory / "svid"
        _govctl(world, "agent", "issue", AGENT, "--out", svid, "--config", config)
        program = Program(
            self.name,
            [_binary(world), "up", "--config", config, "--workers", str(workers)],
            cores=cores,
            log=directory / "govgateway.log",
        )
        program.wait_until(lambda: listening(port) and listening(operations), 60)
        return Running(
            [program],
            Lane([port]),
            Lane([port]),
            tls=Credentials(svid / "svid.pem", svid / "svid.key", svid / "bundle.pem", GATEWAY),
            metrics_port=operations,
        )


def _binary(world: World) -> Path:
    path = world.project / ".venv" / "bin" / "govctl"
    if not path.exists():
        raise BenchError("govctl is not installed in .venv. Run: make install")
    return path


def _govctl(world: World, *arguments: str | Path) -> str:
    command = [str(_binary(world)), *(str(word) for word in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        shown = " ".join(command[1:])
        raise BenchError(f"govctl {shown} failed: {(done.stderr or done.stdout).strip()[-1500:]}")
    return done.stdout


def _configure(path: Path, world: World, port: int, admin: int, operations: int) -> None:
    """Put the listeners on free ports and the streaming model on its own backend."""
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    for section, number in (("listener", port), ("admin", admin), ("operations", operations)):
        config.setdefault(section, {}).update({"address": "127.0.0.1", "port": number})
    config.setdefault("telemetry", {})["log_level"] = "warning"
    config["backends"].append({"name": "streams", "url": world.streams_url})
    for model in config["models"]:
        if model["name"] == STREAMS_MODEL:
            model["backends"] = ["streams"]
    path.write_text(yaml.safe_dump(config, sort_keys=False))


def _raise_quotas(path: Path) -> None:
    """Raise every bound out of the way: all limits are counted, none is reached."""
    data: dict[str, Any] = yaml.safe_load(path.read_text())
    for limit in data["quota"]:
        limit.update({name: ENOUGH for name, bound in limit.items() if isinstance(bound, int)})
    path.write_text(yaml.safe_dump(data, sort_keys=False))
