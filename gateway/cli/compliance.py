"""govctl compliance: how the controls stand between audits."""

import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from audit.export.source import Source, open_source
from compliance.daily import DIRECTORY, DailyResults, Turned, results_of, turned
from compliance.evaluation.result import ControlResult, Evaluation
from compliance.package.question import Question
from compliance.period import Period
from gateway.app import open_audit_store
from gateway.cli.acting import operator, record
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, errors, fail, print_json, print_table, say
from gateway.clock import NANOSECONDS, system_clock
from gateway.config import GatewayConfig, load_config
from gateway.evidence_measures import measures_of

app = typer.Typer(help="How the controls stand between audits.", no_args_is_help=True)

DAILY = "daily"
"""Who acts where the running gateway has a day evaluated."""

_RANK = {"pass": 0, "attested": 0, "not-applicable": 0, "not-testable": 0, "partial": 1, "fail": 2}


@app.callback()
def group() -> None:
    """How the controls stand between audits."""


@app.command()
def status(
    days: Annotated[int, typer.Option(min=1, max=366, help="How many days, the last of them yesterday.")] = 7,
    today: Annotated[bool, typer.Option("--today", help="The last of them is today.")] = False,
    system: Annotated[str, typer.Option(help="An AI system of the register. Default: all.")] = "",
    framework: Annotated[list[str] | None, typer.Option(help="A framework; may be repeated. Default: all.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Show how the controls stand, and which got worse since the days before, and why.

    Exit status 1 if a control that is in force fails.
    """
    settings = load_config(config)
    last = datetime.fromtimestamp(system_clock() // NANOSECONDS, UTC).date() - timedelta(days=0 if today else 1)
    period = Period(last - timedelta(days=days - 1), last)
    before = Period(period.first - timedelta(days=days), period.first - timedelta(days=1))
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True, disable=json) as shown:
        task = shown.add_task("reading the log", total=None)

        def told(what: str, done: int, of: int) -> None:
            shown.update(task, description=what, completed=done, total=of or None)

        source = open_source(open_audit_store(settings), settings.audit_tree)
        now_, then = (
            _evaluated(settings, source, Question(settings.audit_log, system, each, tuple(framework or ())), told)
            for each in (period, before)
        )
    worse = _worse(now_, then)
    failing = [each for each in now_.controls if each.status == "fail" and each.binding]
    if json:
        print_json(
            {
                "ok": not failing,
                "from": str(period.first),
                "to": str(period.last),
                "controls": [_document(each) for each in now_.controls],
                "worse": [_document(each) for each in worse],
                "uncovered": [{"day": day, "why": why} for day, why in now_.uncovered],
            }
        )
    else:
        _tell(now_, worse)
    raise typer.Exit(1 if failing else 0)


@app.command("record")
def record_day(
    day: Annotated[str, typer.Option(metavar="DAY", help="As in 2026-11-24 (UTC). Default: yesterday.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
    scheduled: Annotated[bool, typer.Option(hidden=True, help="The gateway asks: the day is over.")] = False,
) -> None:
    """Evaluate one day and keep the result; a control in force that turns red goes on record once.

    A running gateway does this by itself for each day that is over (compliance.daily). Exit status 1 if a control
    turned red.
    """
    settings = load_config(config)
    yesterday = datetime.fromtimestamp(system_clock() // NANOSECONDS, UTC).date() - timedelta(days=1)
    try:
        when = date.fromisoformat(day) if day else yesterday
    except ValueError:
        fail(f"--day: {day!r} is not a day; write it as 2026-11-24.", 2)
    if when > yesterday + timedelta(days=1):
        fail(f"--day: {when} is not here yet, so nothing is on record of it.", 2)
    results = DailyResults(settings.state_dir / DIRECTORY)
    with results.alone() as work:
        by = DAILY if scheduled else operator()
        evaluation, changes = _kept(settings, results, when, work, by, whole=scheduled or when <= yesterday)
    red = [each for each in changes if each.to == "failed"]
    if json:
        print_json({"day": str(when), "turned": [{"to": each.to, **each.now.model_dump()} for each in changes]})
    else:
        for each in changes:
            say(f"{each.now.control} {each.now.system or 'all'}: {each.to}: {each.now.reason}")
        say(f"{when}: {len(evaluation.controls)} results kept, {len(red)} controls turned red.")
    raise typer.Exit(1 if red else 0)


@app.command()
def trend(
    days: Annotated[int, typer.Option(min=1, max=366, help="How many of the days that are kept.")] = 30,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Show how many controls stood how on each day that is kept."""
    results = DailyResults(load_config(config).state_dir / DIRECTORY)
    kept = [(day, results.of(day)) for day in results.days()[-days:]]
    counted = [
        (str(day), {status: sum(each.status == status for each in controls.values()) for status in _RANK})
        for day, controls in kept
    ]
    if json:
        print_json([{"day": day, **counts} for day, counts in counted])
        return
    rows = [(day, *counts.values()) for day, counts in counted]
    print_table(["DAY", *(status.upper() for status in _RANK)], rows, empty="No day is kept: govctl compliance record")


def _kept(
    config: GatewayConfig, results: DailyResults, when: date, work: Path, by: str, *, whole: bool
) -> tuple[Evaluation, list[Turned]]:
    """Evaluate a day, put on record what turned red or came back, and keep the result."""
    question = Question(config.audit_log, "", Period(when, when), tuple(config.compliance.daily.frameworks))
    source = open_source(open_audit_store(config), config.audit_tree)
    measures, _ = measures_of(config, question)
    database = work / "populations.sqlite"  # goes on where one that was killed left it
    evaluation = measures.evaluate(measures.extract(source, database, _untold), source)
    changes = turned(results.known(when), results_of(evaluation))
    for each in changes:
        now_ = each.now
        fields = {"framework": now_.framework, "control": now_.control, "system": now_.system, "day": str(when)}
        if each.to == "failed":
            record(config, "control.failed", {"principal": by, **fields, "cause": now_.reason[:16_000]})
        else:
            record(config, "control.recovered", {"principal": by, **fields})
    results.keep(evaluation, source.checkpoint.size, whole=whole)
    database.unlink()
    return evaluation, changes


def _untold(_what: str, _done: int, _of: int) -> None:
    """Take progress that nobody looks at."""


def _evaluated(config: GatewayConfig, source: Source, question: Question, told: Any) -> Evaluation:
    measures, _ = measures_of(config, question)
    with tempfile.TemporaryDirectory(dir=config.state_dir) as scratch:
        data = measures.extract(source, Path(scratch) / "populations.sqlite", told)
        return measures.evaluate(data, source)


def _worse(now_: Evaluation, then: Evaluation) -> list[ControlResult]:
    """Return the controls that stand worse than before; days that nothing was recorded on are no comparison."""
    if len(then.uncovered) >= sum(1 for _ in then.period.days()):
        return []
    before = {(each.framework, each.control.id, each.system): _RANK[each.status] for each in then.controls}
    return [
        each
        for each in now_.controls
        if _RANK[each.status] > before.get((each.framework, each.control.id, each.system), 0)
    ]


def _document(each: ControlResult) -> dict[str, Any]:
    return {
        "framework": each.framework,
        "control": each.control.id,
        "system": each.system,
        "status": each.status,
        "binding": each.binding,
        "in_force": each.in_force,
        "reason": each.reason,
    }


def _tell(evaluation: Evaluation, worse: list[ControlResult]) -> None:
    rows = [
        (
            each.control.id,
            each.system or "all",
            each.status,
            "yes" if each.binding else f"from {each.in_force}",
            each.reason,
        )
        for each in sorted(evaluation.controls, key=lambda each: -_RANK[each.status])
        if each.status in ("fail", "partial")
    ]
    print_table(["CONTROL", "SYSTEM", "STATUS", "BINDS", "WHY"], rows, empty="No control fails, none is partial.")
    counts = {status: sum(each.status == status for each in evaluation.controls) for status in _RANK}
    said = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    say(f"{evaluation.period}: {said}.")
    for day, why in evaluation.uncovered:
        say(f"No data for {day}: {why}.")
    for each in worse:
        say(f"Worse than before: {each.control.id} {each.system}: {each.status}: {each.reason}")
