"""govctl audit content: sealed content, found, asked for, approved and opened; every step is on record."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.app import open_audit_store
from gateway.cli.acting import ReasonOption, operator, record
from gateway.cli.audit.base import app
from gateway.cli.audit.erase import CaseOption, SubjectOption, scope_of
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, errors, print_json, print_table, say, when
from gateway.config import load_config
from gateway.sealed_content import open_access, open_erasure
from identity.sealing import write_private

commands = typer.Typer(help="Sealed content: find it, open it. Every step is on record.", no_args_is_help=True)
app.add_typer(commands, name="content")

_EventId = Annotated[str, typer.Argument(metavar="EVENT-ID", help="Event id of the call: its x-request-id.")]
_Part = Annotated[str, typer.Option("--part", help="request, response or identifiers.")]


@commands.command()
def search(
    reason: ReasonOption,
    subject: SubjectOption = "",
    case: CaseOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """List what is sealed of a data subject or a case. The content itself stays sealed."""
    loaded = load_config(config)
    erasure = open_erasure(loaded, open_audit_store(loaded), (), lambda kind, fields: record(loaded, kind, fields))
    found = erasure.search(*scope_of(subject, case), operator(), reason)
    if json:
        print_json(
            [
                {
                    "of": item.event_id,
                    "part": item.part,
                    "bytes": item.size,
                    "sealed_at": item.sealed_ns // 1_000_000_000,
                    "content": item.item_id,
                    "keys": list(item.key_ids),
                }
                for item in found
            ]
        )
        return
    print_table(
        ["call", "part", "bytes", "sealed"],
        ([item.event_id, item.part, item.size, when(item.sealed_ns / 1e9)] for item in found),
        empty="Nothing is sealed of it.",
    )


@commands.command()
def request(
    event_id: _EventId,
    reason: ReasonOption,
    part: _Part = "request",
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Ask that sealed content may be opened; another person approves it."""
    loaded = load_config(config)
    access = open_access(loaded, lambda kind, fields: record(loaded, kind, fields))
    asked = access.request(event_id, part, operator(), reason)
    if json:
        print_json({"request": asked.request_id, "expires_at": asked.expires_ns // 1_000_000_000})
    else:
        say(f"Request {asked.request_id} stands until {when(asked.expires_ns / 1e9)}.")
        say(f"Another person approves it with: govctl audit content approve {asked.request_id}")


@commands.command()
def approve(
    request_id: Annotated[str, typer.Argument(metavar="REQUEST", help="Id of the request.")],
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Approve another person's request to open sealed content, once."""
    loaded = load_config(config)
    access = open_access(loaded, lambda kind, fields: record(loaded, kind, fields))
    approved = access.approve(request_id, operator())
    if json:
        print_json({"request": approved.request_id, "of": approved.event_id, "part": approved.part})
    else:
        say(f"Approved: {approved.requester} may open the {approved.part} of {approved.event_id} once.")


@commands.command("open")
def open_content(
    event_id: _EventId,
    reason: ReasonOption,
    part: _Part = "request",
    request_id: Annotated[
        str, typer.Option("--request", help="The approved request, where two people are asked.")
    ] = "",
    out: Annotated[Path | None, typer.Option(help="File for the content, mode 0600; default: standard output.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Open sealed content. That it was opened, by whom and why is in the log before anything is shown."""
    loaded = load_config(config)
    access = open_access(loaded, lambda kind, fields: record(loaded, kind, fields))
    revealed = access.open_content(event_id, part, operator(), reason, request_id)
    if out is not None:
        write_private(out, revealed.content)
    if json:
        shown: dict[str, Any] = {"salt": revealed.salt, "commitment": revealed.commitment}
        if out is None:
            shown["content"] = revealed.content.decode(errors="backslashreplace")
        print_json({**shown, "approved_by": list(revealed.approved_by)})
    elif out is not None:
        say(f"{len(revealed.content)} bytes in {out}. Commitment {revealed.commitment}, salt {revealed.salt}.")
    else:
        _show(revealed.content)
        errors.print(f"\nCommitment {revealed.commitment}, salt {revealed.salt}.", markup=False, soft_wrap=True)


def _show(content: bytes) -> None:
    """Write content as it is; to a terminal without what could move its cursor or begin a command."""
    if sys.stdout.isatty():
        text = content.decode(errors="backslashreplace")
        say("".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text))
    else:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
