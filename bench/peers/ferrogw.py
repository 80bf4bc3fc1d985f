"""ferrogw, the Ferro Labs AI gateway in Go, with its rate limits lifted."""

import json
import re
import secrets
import subprocess

from harness.processes import BenchError, Cores, Program, free_ports, listening

from peers.base import CALLS_MODEL, STREAMS_MODEL, Lane, Running, World


class Ferrogw:
    """ferrogw."""

    name = "ferrogw"
    title = "ferrogw (Go)"
    setup = (
        "a master key, in-memory stores, no plugins, per-address rate limit lifted, logging of errors only; "
        "workers are GOMAXPROCS."
    )

    def version(self, world: World) -> str:
        """Return ferrogw's version."""
        binary = world.tools / "ferrogw"
        if not binary.exists():
            raise BenchError("ferrogw is not installed under bench/.work. Run bench/run.sh, which installs it.")
        output = subprocess.run([binary, "version"], capture_output=True, text=True, check=True).stdout
        found = re.search(r"Version\s+(\S+)", output)
        return found.group(1) if found else output.strip()

    def start(self, world: World, workers: int, cores: Cores) -> Running:
        """Start the gateway; its two providers are two backends that speak OpenAI's protocol."""
        (port,) = free_ports(1)
        key = f"fgw_{secrets.token_hex(16)}"
        directory = world.directory(f"ferrogw-{workers}")
        config = {
            "strategy": {"mode": "fallback"},
            "targets": [
                {"virtual_key": "openai", "models": [CALLS_MODEL]},
                {"virtual_key": "groq", "models": [STREAMS_MODEL]},
            ],
        }
        path = directory / "config.json"
        path.write_text(json.dumps(config, indent=1))
        program = Program(
            self.name,
            [world.tools / "ferrogw", "serve"],
            cores=cores,
            log=directory / "ferrogw.log",
            cwd=directory,
            env={
                "GATEWAY_CONFIG": str(path),
                "GATEWAY_ENV": "production",
                "GOMAXPROCS": str(workers),
                "GROQ_API_KEY": "not-checked",
                "GROQ_BASE_URL": world.streams_url,
                "LOG_LEVEL": "error",
                "MASTER_KEY": key,
                "OPENAI_API_KEY": "not-checked",
                "OPENAI_BASE_URL": world.calls_url,
                "PORT": str(port),
                "RATE_LIMIT_RPS": "0",
            },
        )
        program.wait_until(lambda: listening(port), 30)
        lane = Lane([port], {"authorization": f"Bearer {key}"})
        return Running([program], lane, lane)
