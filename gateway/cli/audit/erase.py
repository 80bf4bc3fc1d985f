"""govctl audit erase: renders the sealed content of a data subject or case inaccessible."""

from typing import Annotated, Any

import typer

from audit.sealing.envelope import ScopeKind
from gateway.app import open_audit_store
from gateway.cli.acting import operator, record
from gateway.cli.audit.base import app
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, print_json, say
from gateway.config import GatewayConfig, load_config
from gateway.retention import open_keeper
from gateway.sealed_content import open_erasure

SubjectOption = Annotated[str, typer.Option(help="The data subject, by the name under which content was sealed.")]
CaseOption = Annotated[str, typer.Option(help="The case, by its name.")]


@app.command()
def erase(
    subject: SubjectOption = "",
    case: CaseOption = "",
    reason: Annotated[str, typer.Option(help="Why; goes to the audit log. Name the request, not the person.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Only finish erasures that were interrupted.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Destroy the keys of a data subject's or a case's sealed content. Cannot be undone. The log still verifies."""
    loaded = load_config(config)
    keeper, _ = open_keeper(loaded, lambda kind, fields: record(loaded, kind, fields))
    holds = list(keeper.book().holds.values())
    erasure = open_erasure(loaded, open_audit_store(loaded), holds, lambda kind, fields: record(loaded, kind, fields))
    if resume:
        if subject or case:
            fail("--resume finishes all erasures that were interrupted; it takes neither --subject nor --case.")
        done = erasure.resume()
    else:
        kind, name = scope_of(subject, case)
        done = erasure.erase(kind, name, operator(), reason)
    if json:
        print_json(done)
        return
    for fields in done:
        _tell(fields, loaded)
    if not done:
        say("No erasure was interrupted.")


def scope_of(subject: str, case: str) -> tuple[ScopeKind, str]:
    """Return whose content is meant; exactly one of the two is named."""
    if bool(subject) is bool(case):
        fail("name a data subject with --subject, or a case with --case.")
    return ("subject", subject) if subject else ("case", case)


def _tell(fields: dict[str, Any], config: GatewayConfig) -> None:
    say(f"{fields['contents']} sealed contents were rendered inaccessible; {len(fields['keys'])} keys were destroyed.")
    say(f"Erasure {fields['erasure']}, on record in {config.audit_log}.")
    if fields["backups"]:
        say(f"Still to be treated, since wrapped keys live on in them: {', '.join(fields['backups'])}.")
    else:
        say("No backups are known (audit.sealing.backups): in a copy made by other means wrapped keys live on.")
