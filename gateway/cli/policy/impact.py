"""govctl policy impact and record: whom a change hits, measured on recorded decisions."""

import secrets
from enum import StrEnum
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gateway.app import configured_policies, open_audit_store
from gateway.cli.acting import moment, now, span
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, console, errors, say
from gateway.cli.policy.base import app
from gateway.cli.policy.reviewed import NAMES, configured_revision, open_revision, running_revision
from gateway.config import load_config
from gateway.errors import ConfigError
from gateway.policyreview.impact import Impact, assess
from gateway.policyreview.pseudonyms import Pseudonyms
from gateway.policyreview.recorded import RecordedCall, merged, read_samples, sample_line
from gateway.policyreview.recorded_log import read_log, read_records
from gateway.policyreview.replay import ReplayOptions, cases_of, replay
from gateway.policyreview.report_json import impact_document
from gateway.policyreview.report_markdown import impact_markdown
from gateway.policyreview.report_sarif import impact_sarif
from gateway.policyreview.report_terminal import print_impact
from gateway.policyreview.revisions import Revision
from gateway.policyreview.thresholds import FIGURES, Crossed, Threshold, crossed, parse_threshold

CROSSED_EXIT = 3
"""Exit status when a threshold is crossed."""

SinceOption = Annotated[str, typer.Option(help="How far back, for instance 14d.")]


class Format(StrEnum):
    """What a report is written as."""

    TERMINAL = "terminal"
    MARKDOWN = "markdown"
    JSON = "json"
    SARIF = "sarif"


@app.command()
def impact(
    base: Annotated[str, typer.Option(help=f"The revision in force: {NAMES}. Default: what the gateway runs.")] = "",
    candidate: Annotated[str, typer.Option(help="The revision under review. Default: the configured directory.")] = "",
    since: SinceOption = "14d",
    records: Annotated[Path | None, typer.Option(help="Audit records exported as JSON lines, not the log.")] = None,
    samples: Annotated[Path | None, typer.Option(help="Samples written by govctl policy record, not the log.")] = None,
    as_recorded: Annotated[
        bool, typer.Option("--as-recorded", help="Keep recorded roles; do not look bindings up in each revision.")
    ] = False,
    at: Annotated[str, typer.Option(help="Look bindings up for this time, not that of the call; e.g. a date.")] = "",
    output: Annotated[Format, typer.Option("--format", help="How the report is written.")] = Format.TERMINAL,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write the report to.")] = None,
    write: Annotated[
        list[str] | None,
        typer.Option(help="Write it in another form, too: FORMAT=FILE, as json=impact.json. Repeatable."),
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(help=f"Exit status 3 if there are any, or more than =N: {', '.join(FIGURES)}. Repeatable."),
    ] = None,
    price_per_1k: Annotated[
        float | None, typer.Option("--price-per-1k", min=0, help="Price of a thousand tokens; the report gives cost.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=0, help="Processes that decide; 0: one for each core.")] = 0,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Replay recorded decisions by two revisions, and report what would change and for whom."""
    thresholds = _thresholds(fail_on or [])
    written = [(output, out), *map(_form_and_file, write or [])]
    if records and samples:
        raise typer.BadParameter("--records and --samples are two sources; give one of them.")
    one = open_revision(base) if base else running_revision(load_config(config))
    other = open_revision(candidate) if candidate else configured_revision(load_config(config))
    calls = _calls(config, records, samples, since)
    options = ReplayOptions(as_recorded, moment("--at", at) if at else None, jobs)
    report = _replayed(calls, one, other, options)
    over = crossed(thresholds, report.counts())
    for form, file in written:
        _write(form, file, report, over, other, price_per_1k)
    if over:
        for each in over:
            errors.print(f"Threshold crossed: {each}.", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(CROSSED_EXIT)


@app.command()
def record(
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write the samples to.")],
    since: SinceOption = "14d",
    limit: Annotated[int, typer.Option(min=1, help="Most distinct inputs, those seen last.")] = 10_000,
    pseudonymize: Annotated[
        bool, typer.Option("--pseudonymize", help="Replace SPIFFE IDs that no role is bound to, and owners.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Write the distinct policy inputs of the log as samples, with counts, times and tokens, for use in a pipeline."""
    loaded = load_config(config)
    calls = merged(read_log(open_audit_store(loaded), now() - span("--since", since)))
    chosen = list(islice(calls, limit))
    left_out = sum(call.count for call in calls[limit:])
    if pseudonymize:
        names = Pseudonyms(configured_policies(loaded), secrets.token_bytes(32))
        chosen = merged(names.applied(chosen))
        left_out += names.left_out
    _write_file(out, b"".join(map(sample_line, chosen)))
    say(f"{out}: {len(chosen):,} distinct inputs of {sum(call.count for call in chosen):,} decisions.")
    if left_out:
        why = "beyond --limit, or decided otherwise without the names" if pseudonymize else "beyond --limit"
        say(f"{left_out:,} decisions are left out: {why}.")


def _thresholds(texts: list[str]) -> list[Threshold]:
    try:
        return [parse_threshold(text) for text in texts]
    except ConfigError as error:
        raise typer.BadParameter(str(error), param_hint="--fail-on") from None


def _form_and_file(text: str) -> tuple[Format, Path | None]:
    form, _, file = text.partition("=")
    if form not in set(Format) or not file:
        raise typer.BadParameter(f"{text!r} is not FORMAT=FILE; formats are {', '.join(Format)}.", param_hint="--write")
    return Format(form), Path(file)


def _calls(config: Path, records: Path | None, samples: Path | None, since: str) -> list[RecordedCall]:
    if samples:
        return list(read_samples(samples))
    start = now() - span("--since", since)
    if records:
        return read_records(records, start)
    return read_log(open_audit_store(load_config(config)), start)


def _replayed(calls: list[RecordedCall], base: Revision, candidate: Revision, options: ReplayOptions) -> Impact:
    cases = cases_of(calls, (base.policies, candidate.policies))
    columns = (TextColumn("Replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task("cases", total=len(cases))
        done = replay(cases, base.policies, candidate.policies, options, lambda n: progress.advance(task, n))
        return assess(done, base, candidate, now=now())


def _write(
    output: Format, out: Path | None, report: Impact, over: list[Crossed], candidate: Revision, price: float | None
) -> None:
    if output is Format.TERMINAL:
        if out is None:
            print_impact(console, report, over, price)
            return
        text = StringIO()
        print_impact(Console(file=text, width=160, highlight=False, emoji=False), report, over, price)
        _write_file(out, text.getvalue().encode())
        return
    if output is Format.MARKDOWN:
        content = impact_markdown(report, over, price).encode()
    else:
        document: dict[str, Any] = (
            impact_sarif(report, candidate) if output is Format.SARIF else impact_document(report, over, price)
        )
        content = orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"
    if out is None:
        typer.echo(content.decode(), nl=False)
    else:
        _write_file(out, content)


def _write_file(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from error
