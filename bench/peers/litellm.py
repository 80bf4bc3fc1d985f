"""LiteLLM's proxy server, without a database, with its logging off."""

import json
import secrets
import subprocess
from pathlib import Path

from harness.processes import BenchError, Cores, Program, free_ports, listening

from peers.base import CALLS_MODEL, STREAMS_MODEL, Lane, Running, World

START_SECONDS = 120


class LiteLLM:
    """LiteLLM proxy."""

    name = "litellm"
    title = "LiteLLM proxy"
    setup = (
        "uvicorn, its default server; a master key; no database, no callbacks, telemetry and logging off; "
        "production mode; more workers by --num_workers."
    )

    def version(self, world: World) -> str:
        """Return LiteLLM's version."""
        python = world.litellm / "python"
        if not python.exists():
            raise BenchError("LiteLLM is not installed under bench/.work. Run bench/run.sh, which installs it.")
        ask = "import importlib.metadata as m; print(m.version('litellm'))"
        return subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()

    def start(self, world: World, workers: int, cores: Cores) -> Running:
        """Start the proxy."""
        (port,) = free_ports(1)
        key = f"sk-{secrets.token_hex(16)}"
        directory = world.directory(f"litellm-{workers}")
        models = {
            CALLS_MODEL: ("openai/gpt-4o-mini", world.calls_url),
            STREAMS_MODEL: ("openai/gpt-4o-mini", world.streams_url),
        }
        config = {
            "model_list": [
                {
                    "model_name": model,
                    "litellm_params": {"model": upstream, "api_base": url, "api_key": "not-checked"},
                }
                for model, (upstream, url) in models.items()
            ],
            "litellm_settings": {"telemetry": False, "set_verbose": False, "drop_params": False},
            "general_settings": {"master_key": "os.environ/LITELLM_MASTER_KEY", "disable_spend_logs": True},
        }
        path = directory / "config.yaml"
        path.write_text(json.dumps(config, indent=1))
        command: list[str | Path] = [
            *(world.litellm / "litellm", "--config", path, "--host", "127.0.0.1", "--port", str(port)),
            *("--num_workers", str(workers), "--telemetry", "False"),
        ]
        program = Program(
            self.name,
            command,
            cores=cores,
            log=directory / "litellm.log",
            env={
                "LITELLM_MASTER_KEY": key,
                "LITELLM_LOG": "ERROR",
                "LITELLM_MODE": "PRODUCTION",
                # The list of prices comes with the package; nothing is asked of the network.
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            },
        )
        program.wait_until(lambda: listening(port), START_SECONDS)
        lane = Lane([port], {"authorization": f"Bearer {key}"})
        return Running([program], lane, lane)
