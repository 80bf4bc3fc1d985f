"""The command group that the commands of `govctl policy` register on."""

import typer

app = typer.Typer(help="The policies as code: check, test, compare, build, activate.", no_args_is_help=True)
