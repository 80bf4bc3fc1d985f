"""govctl audit export."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from audit.export import ExportRequest, export_log
from gateway.app import open_audit_store
from gateway.audit_keys import VERIFIER_FILE
from gateway.cli.audit.base import app
from gateway.cli.audit.keys import PolicyOption, witness_policy
from gateway.cli.audit.sealed import last_deleted
from gateway.cli.audit.times import TIME_HELP, parse_time
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, errors, print_json, say
from gateway.config import load_config

Format = Literal["jsonl", "csv", "tiles", "bundle"]


@app.command()
def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to make; an unfinished one goes on.")],
    form: Annotated[
        Format, typer.Option("--format", help="bundle is for the standalone verifier, tiles for tools of C2SP.")
    ] = "bundle",
    since: Annotated[str | None, typer.Option(help=f"Only from then on. {TIME_HELP}", show_default=False)] = None,
    until: Annotated[str | None, typer.Option(help="Only before then.", show_default=False)] = None,
    policy: PolicyOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Take the log out, up to its latest checkpoint. Interrupted, it goes on when it is run again."""
    settings = load_config(config)
    key = settings.audit_dir / VERIFIER_FILE
    witnesses = witness_policy(settings, policy)
    request = ExportRequest(
        form,
        output,
        parse_time(since) if since is not None else 0,
        parse_time(until) if until is not None else 0,
        verifier_keys=(key.read_text().strip(),) if key.exists() else (),
        policy=witnesses[1] if witnesses is not None else "",
        sealed=last_deleted(settings) or b"",
    )
    columns = (TextColumn("Exporting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=json) as progress:
        task = progress.add_task("records", total=None)

        def advance(count: int, total: int) -> None:
            progress.update(task, advance=count, total=total)

        done = export_log(open_audit_store(settings), settings.audit_tree, request, advance)
    if json:
        print_json(
            {
                "output": str(output),
                "format": form,
                "records": done.records,
                "deleted": done.deleted,
                "size": done.size,
                "resumed": done.resumed,
            }
        )
        return
    say(f"{done.records} records of {done.size} are in {output}{', which went on' if done.resumed else ''}.")
    if done.deleted:
        say(f"{done.deleted} were deleted by retention; their hashes are in the tree.")
    if form == "bundle":
        say(f"Whoever gets it verifies it with: python -I {output / 'verify_audit.py'} export {output} --key KEY")
        say("Give them KEY, the log's public key, by another way than the export.")
