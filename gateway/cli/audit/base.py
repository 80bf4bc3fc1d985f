"""The command group that the commands of `govctl audit` register on."""

import typer

app = typer.Typer(help="Verify the audit log, and look at it.", no_args_is_help=True)
