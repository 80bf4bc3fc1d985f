"""govctl: the command line of the gateway, one module a noun."""

import sys
from typing import Annotated

import typer

from audit.errors import AuditError
from compliance.errors import ComplianceError
from gateway import __version__
from gateway.cli import (
    agent,
    approve,
    audit,
    authority,
    compliance,
    config,
    entry,
    evidence,
    evidence_export,
    identity,
    incident,
    init,
    oversight,
    policy,
    quota,
    secret,
    svid,
    system,
    token,
    up,
)
from gateway.cli.output import fail
from gateway.errors import ConfigError, GatewayError
from identity.errors import IdentityError

app = typer.Typer(
    name="govctl",
    help="Zero-trust governance gateway for AI calls: who calls, may it, how much, and what happened.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("init")(init.init)
app.command("up")(up.up)
app.command("reload")(up.reload)
app.command("export-evidence")(evidence_export.export_evidence)
app.command("verify-evidence")(evidence.verify_evidence)
app.add_typer(agent.app, name="agent")
app.add_typer(approve.app, name="approve")
app.add_typer(audit.app, name="audit")
app.add_typer(authority.app, name="authority")
app.add_typer(compliance.app, name="compliance")
app.add_typer(config.app, name="config")
app.add_typer(entry.app, name="entry")
app.add_typer(evidence.app, name="evidence")
app.add_typer(identity.app, name="identity")
app.add_typer(incident.app, name="incident")
app.add_typer(oversight.app, name="oversight")
app.add_typer(policy.app, name="policy")
app.add_typer(quota.app, name="quota")
app.add_typer(secret.app, name="secret")
app.add_typer(svid.app, name="svid")
app.add_typer(system.app, name="system")
app.add_typer(token.app, name="token")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"govctl {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Zero-trust governance gateway for AI calls: who calls, may it, how much, and what happened."""


def main() -> None:
    """Run govctl. Expected failures print one message that names cause and remedy; exit status 1."""
    try:
        app()
    except GatewayError as error:
        fail(f"{error.detail} {error.remedy}".strip())
    except (ConfigError, IdentityError, AuditError, ComplianceError) as error:
        fail(str(error))
    except PermissionError as error:
        fail(f"{error.filename}: permission denied. Run govctl as the user that owns the gateway's files.")
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
