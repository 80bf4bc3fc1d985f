"""govctl audit verify."""

from typing import Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from audit.verification import ChainReport, verify_store
from gateway.app import open_audit_store
from gateway.cli.audit.base import app
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, errors, print_json, say
from gateway.config import load_config


@app.command()
def verify(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Verify every link, hash and record of every chain; exit status 1 if anything is wrong."""
    store = open_audit_store(load_config(config))
    total = 0
    for chain in store.chains():
        with store.reader(chain) as reader:
            total += reader.count()
    columns = (TextColumn("Verifying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=json) as progress:
        task = progress.add_task("records", total=total)
        reports = verify_store(store, lambda done: progress.advance(task, done))
    ok = bool(reports) and all(report.ok for report in reports)
    if json:
        print_json({"ok": ok, "chains": [_report(report) for report in reports]})
    else:
        for report in reports:
            _tell(report)
        if not reports:
            say(f"The log {store.log} has no record yet.")
        elif ok:
            say("Every record is the one that was written, in its place, none missing in between.")
            say("Keep the heads above elsewhere to notice a log that was cut short or written anew.")
        else:
            say("The log was changed or damaged.")
    if not ok:
        raise typer.Exit(1)


def _tell(report: ChainReport) -> None:
    state = "good" if report.ok else "BROKEN"
    say(f"{report.chain}: {state}, {report.records} records, head {report.head.sequence} {report.head.hash}")
    if report.open_intents:
        say(f"  {len(report.open_intents)} calls have no outcome: under way now, or when a gateway was killed.")
    for finding in report.findings[:20]:
        place = f"record {finding.sequence}: " if finding.sequence >= 0 else ""
        say(f"  {place}{finding.message} [{finding.rule}]")
    if len(report.findings) > 20:
        say(f"  and {len(report.findings) - 20} more.")


def _report(report: ChainReport) -> dict[str, Any]:
    return {
        "log": report.chain,
        "ok": report.ok,
        "records": report.records,
        "head": {"sequence": report.head.sequence, "hash": report.head.hash},
        "open_intents": report.open_intents,
        "findings": [{"rule": f.rule, "sequence": f.sequence, "message": f.message} for f in report.findings],
    }
