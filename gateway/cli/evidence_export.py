"""govctl export-evidence."""

from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from compliance.package.building import Built, Request
from compliance.package.question import SAMPLES, Question
from compliance.period import Period
from gateway.cli.acting import operator
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, errors, fail, print_json, say
from gateway.config import GatewayConfig, load_config
from gateway.evidence import check_permission
from gateway.evidence import export_evidence as export
from gateway.evidence_measures import measures_of
from gateway.evidence_parts import PARTS

_Output = Annotated[
    Path, typer.Option("--output", "-o", help="Directory to make, or a file ending in .zip; an unfinished one goes on.")
]


def export_evidence(
    first: Annotated[str, typer.Option("--from", metavar="DAY", help="First day, as in 2026-11-01 (UTC).")],
    last: Annotated[str, typer.Option("--to", metavar="DAY", help="Last day, included (UTC).")],
    output: _Output,
    framework: Annotated[
        list[str] | None,
        typer.Option("--framework", help="A framework; may be repeated. Default: all."),
    ] = None,
    control: Annotated[
        list[str] | None, typer.Option("--control", help="A control of them; may be repeated. Default: all.")
    ] = None,
    system: Annotated[str, typer.Option("--system", help="An AI system of the register. Default: all.")] = "",
    sample_seed: Annotated[
        str, typer.Option("--sample-seed", help="What the auditor gave, once they had commitment.json.")
    ] = "",
    samples: Annotated[
        int, typer.Option("--samples", min=1, max=1000, help="How many rows of each population a seed draws.")
    ] = SAMPLES,
    anew: Annotated[bool, typer.Option("--anew", help="Of the log as it is now, with a new commitment.")] = False,
    real_names: Annotated[
        bool, typer.Option("--real-names", help="Names of people instead of pseudonyms; that is on record.")
    ] = False,
    since: Annotated[
        list[Path] | None, typer.Option("--since", metavar="CHECKPOINT", help="A checkpoint that the auditor has.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Write a package of evidence: signed, and verifiable offline by somebody who trusts nobody here."""
    settings = load_config(config)
    period = Period(_day("--from", first), _day("--to", last))
    asked = Question(settings.audit_log, system, period, tuple(framework or ()), real_names, samples)
    check_permission(settings, asked, operator())
    measures, question = measures_of(settings, asked, control or ())
    request = Request(question, output, sample_seed, anew, tuple(_read(each) for each in since or ()))
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[done]}"), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True, disable=json) as progress:
        task = progress.add_task("beginning", total=None, done="")
        told = _Told(progress, task)
        built = export(settings, request, operator(), measures, PARTS, told)
    if json:
        print_json(_document(built, request))
    else:
        _tell(built, request, settings)


class _Told:
    """Shows how far an export is."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def __call__(self, what: str, done: int, total: int) -> None:
        shown = f"{done:,} of {total:,}" if total else f"{done:,}" if done else ""
        self._progress.update(self._task, description=what, completed=done, total=total or None, done=shown)


def _day(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        fail(f"{option} {text!r} is not a day; write 2026-11-24.")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}.")


def _document(built: Built, request: Request) -> dict[str, Any]:
    facts = built.facts
    statuses = [each.status for each in facts.evaluation.controls]
    return {
        "output": str(request.output),
        "manifest_sha256": built.manifest_sha256,
        "commitment_sha256": built.commitment_sha256,
        "committed_now": built.committed_now,
        "fingerprint": facts.fingerprint,
        "files": built.files,
        "bytes": built.size,
        "records": facts.checkpoint.size,
        "populations": {each.population: each.rows for each in facts.ipe},
        "samples": len(facts.samples),
        "replayable": sum(1 for each in facts.samples if each.replayable),
        "controls": {status: statuses.count(status) for status in sorted(set(statuses))},
    }


def _tell(built: Built, request: Request, settings: GatewayConfig) -> None:
    facts, question = built.facts, request.question
    statuses = [each.status for each in facts.evaluation.controls]
    counted = ", ".join(f"{statuses.count(each)} {each}" for each in sorted(set(statuses)))
    of = question.system or "all systems"
    say(f"{request.output}: {built.files} files, {built.size:,} bytes, of {of}, {question.period}.")
    say(f"Controls: {counted or 'none'}. What the package does not show is in COVERAGE.md.")
    say(f"Of the log {settings.audit_log} as it was signed with {facts.checkpoint.size} records.")
    if request.seed:
        say(
            f"{len(facts.samples)} samples; {sum(1 for each in facts.samples if each.replayable)} can be decided again."
        )
    else:
        say("No samples yet: give commitment.json to the auditor, and run this again with their --sample-seed.")
    options = f"--evidence-key {facts.fingerprint} --log-key KEY"
    say(f"Whoever gets it verifies it with: python -I verify_evidence.py {request.output} {options}")
