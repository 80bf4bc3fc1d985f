"""govctl up and reload: run the gateway, and let a running one take its files anew."""

import os
import shutil
from typing import Annotated

import typer

from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, print_json, say
from gateway.config import load_config
from gateway.local_control import ask


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


def reload(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Let the running gateway read its configuration and policies again. A bad file is refused whole."""
    done = ask(load_config(config).state_dir, "reload")
    if json:
        print_json(done)
    else:
        say(f"{done['workers']} workers run {config} with policy revision {done['policy_revision']}.")
