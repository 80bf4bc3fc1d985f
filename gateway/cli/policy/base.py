"""The command group that the commands of `govctl policy` register on, and what several of them take."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.config import load_config

app = typer.Typer(help="The policies as code: check, test, compare, build, activate.", no_args_is_help=True)

DirectoryArgument = Annotated[
    Path | None, typer.Argument(help="Directory of the policies; default: the configured one.", show_default=False)
]


def policy_directory(directory: Path | None, config: Path) -> Path:
    """Return the directory that was named, which needs no configuration, or else the configured one.

    Raises:
        gateway.errors.ConfigError: none was named, and the configuration cannot be used.
    """
    return load_config(config).policy.directory if directory is None else directory
