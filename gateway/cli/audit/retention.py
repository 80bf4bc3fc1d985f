"""govctl audit retention: what may be deleted of the log, what holds it back, and doing it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from audit.retention import Book, SegmentPlan
from gateway.cli.acting import operator, record
from gateway.cli.audit.base import app
from gateway.cli.output import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    errors,
    print_json,
    print_table,
    say,
    when,
)
from gateway.config import load_config
from gateway.retention import open_keeper

commands = typer.Typer(help="How long records are kept, and deleting what is past it.", no_args_is_help=True)
app.add_typer(commands, name="retention")


@commands.command()
def simulate(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Show of each sealed segment whether it would be deleted, and if not, what holds it back. Changes nothing."""
    loaded = load_config(config)
    keeper, planner = open_keeper(loaded, lambda kind, fields: record(loaded, kind, fields))
    book = keeper.book()
    with _progress(book, "Looking", json) as advance:
        plans = list(planner.plan(book, advance))
    if json:
        print_json({"rules": planner.rules.words(), "segments": [_view(plan) for plan in plans]})
        return
    say(f"Records are {planner.rules.words()}.")
    print_table(
        ["segment", "records", "bytes", "from", "to", "would be"],
        ([plan.segment.number, plan.records, plan.bytes, *_times(plan), _fate(plan)] for plan in plans),
        empty="No sealed segment is left to delete. To close one: govctl audit seal",
    )


@commands.command()
def apply(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Delete every sealed segment that may go, oldest first. What was interrupted is finished first."""
    loaded = load_config(config)
    keeper, _ = open_keeper(loaded, lambda kind, fields: record(loaded, kind, fields))
    gone: list[SegmentPlan] = []
    with _progress(keeper.book(), "Deleting", json) as advance:
        stays = keeper.apply(operator(), advance, gone.append)
    if json:
        print_json({"deleted": [_view(plan) for plan in gone], "stays": _view(stays) if stays else None})
        return
    for plan in gone:
        say(f"Deleted segment {plan.segment.number}: {plan.segment.records} records. Its hashes stay in the tree.")
    if stays is not None:
        say(f"Segment {stays.segment.number} and later ones stay: {_fate(stays)}")
    elif not gone:
        say("No sealed segment is left to delete. To close one: govctl audit seal")


@contextmanager
def _progress(book: Book, doing: str, quiet: bool) -> Iterator[Callable[[int], None]]:
    total = sum(segment.records for segment in book.segments[book.deleted :])
    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=quiet) as progress:
        task = progress.add_task("records", total=total)
        yield lambda done: progress.advance(task, done)


def _times(plan: SegmentPlan) -> list[str]:
    return [when(each / 1e9) if each else "" for each in (plan.oldest_ns, plan.newest_ns)]


def _fate(plan: SegmentPlan) -> str:
    if plan.deletable:
        return "deleted"
    return "kept: " + "; ".join(
        f"{blocker.detail} ({blocker.records} records)" if blocker.records else blocker.detail
        for blocker in plan.blockers
    )


def _view(plan: SegmentPlan) -> dict[str, Any]:
    segment = plan.segment
    return {
        "segment": segment.number,
        "start": segment.start,
        "end": segment.end,
        "records": plan.records,
        "bytes": plan.bytes,
        "oldest": plan.oldest_ns // 1_000_000_000,
        "newest": plan.newest_ns // 1_000_000_000,
        "free_at": plan.free_ns // 1_000_000_000,
        "deletable": plan.deletable,
        "held_by": [{"kind": b.kind, "detail": b.detail, "records": b.records} for b in plan.blockers],
    }
