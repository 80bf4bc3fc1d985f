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
        _govctl(world, "init", "--dir", home, "--trust-domain", TRUST_DOMAIN, "--backend", world.calls_url)
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
    """Put the listeners on free ports and the two models on their backends."""
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    config.setdefault("listener", {}).update({"address": "127.0.0.1", "port": port})
    config.setdefault("admin", {}).update({"address": "127.0.0.1", "port": admin})
    config.setdefault("operations", {}).update({"address": "127.0.0.1", "port": operations})
    config.setdefault("telemetry", {})["log_level"] = "warning"
    system = config["models"][0].get("system", "")
    config["backends"] = [
        {"name": "calls", "url": world.calls_url},
        {"name": "streams", "url": world.streams_url},
    ]
    config["models"] = [
        {"name": CALLS_MODEL, "system": system, "backends": ["calls"]},
        {"name": STREAMS_MODEL, "system": system, "backends": ["streams"]},
    ]
    path.write_text(yaml.safe_dump(config, sort_keys=False))


def _raise_quotas(path: Path) -> None:
    """Multiply every amount, so that all limits are counted and none is reached."""
    path.write_text(yaml.safe_dump(_raised(yaml.safe_load(path.read_text())), sort_keys=False))


def _raised(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: 1_000_000_000 if key == "amount" and isinstance(inner, int) else _raised(inner)
            for key, inner in value.items()
        }
    return [_raised(inner) for inner in value] if isinstance(value, list) else value
