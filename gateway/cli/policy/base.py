"""The command group that the commands of `govctl policy` register on, and what several of them take."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.app import configured_policies
from gateway.authorization.policy_set import EngineName, LoadedPolicySet
from gateway.config import GatewayConfig, load_config
from gateway.errors import ConfigError

app = typer.Typer(help="The policies as code: check, test, compare, build, activate.", no_args_is_help=True)

DirectoryArgument = Annotated[
    Path | None, typer.Argument(help="Directory of the policies; default: the configured one.", show_default=False)
]


EngineOption = Annotated[
    EngineName | None,
    typer.Option(
        help="What is going to decide: embedded, or opa, which takes forms that the embedded engine does not; "
        "default: the configured one, embedded for a DIRECTORY.",
        show_default=False,
    ),
]


def policy_directory(directory: Path | None, engine: EngineName | None, config: Path) -> tuple[Path, EngineName]:
    """Return the directory that was named, which needs no configuration, or else the configured one; and the engine.

    Raises:
        gateway.errors.ConfigError: none was named, and the configuration cannot be used.
    """
    if directory is not None:
        return directory, engine or "embedded"
    policy = load_config(config).policy
    return policy.directory, engine or policy.engine


def embedded_policies(config: GatewayConfig) -> LoadedPolicySet:
    """Load the policies that the gateway would decide by if it were started now, to decide by them in this process.

    Raises:
        gateway.errors.ConfigError: they cannot be used; or the gateway decides with OPA by forms on which the
            embedded engine may differ, so that an answer of this process could be another one.
    """
    if config.policy.engine == "embedded":
        return configured_policies(config)
    embedded = config.policy.model_copy(update={"engine": "embedded"})
    try:
        return configured_policies(config.model_copy(update={"policy": embedded}))
    except ConfigError as error:
        configured_policies(config)
        raise ConfigError(
            f"The gateway decides with OPA; this command decides by itself, and could differ: {error} "
            "Ask OPA: opa eval --bundle POLICIES --input FILE data.govgateway.authz.decision"
        ) from error
