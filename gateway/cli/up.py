"""govctl up and reload: run the gateway, and let a running one take its files anew."""

import os
import shutil
import signal
import time
from typing import Annotated

import typer

from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, fail, say
from gateway.config import load_config


def up(
    config: ConfigOption = DEFAULT_CONFIG,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Worker processes; default: listener.workers of the file.")
    ] = None,
) -> None:
    """Run the gateway in the foreground until SIGTERM or Ctrl-C."""
    loaded = load_config(config)
    if workers is not None:
        loaded = loaded.model_copy(update={"listener": loaded.listener.model_copy(update={"workers": workers})})
    metrics = loaded.state_dir / "metrics" / str(os.getpid())
    shutil.rmtree(metrics, ignore_errors=True)
    metrics.mkdir(mode=0o700, parents=True)
    # Read by prometheus_client when it is imported, so it is set before the import below.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics)
    from gateway.control import run_control  # noqa: PLC0415

    try:
        raise typer.Exit(run_control(config, loaded))
    finally:
        shutil.rmtree(metrics, ignore_errors=True)


def reload(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Let the running gateway read its configuration and policies again. A bad file is refused whole."""
    from gateway.app import build_runtime  # noqa: PLC0415

    loaded = load_config(config)
    runtime = build_runtime(loaded)
    path = loaded.state_dir / "gateway.pid"
    try:
        pid = int(path.read_text())
        os.kill(pid, signal.SIGHUP)
    except (FileNotFoundError, ValueError, ProcessLookupError):
        fail(f"no gateway runs on {loaded.state_dir}; the files are good, start it with: govctl up")
    say(f"Asked process {pid} to take {config} and policy revision {runtime.policies.revision}.")
    time.sleep(0.1)
    say("Its log says 'reloaded', or 'reload-refused' with the cause; so does: govctl audit tail")
