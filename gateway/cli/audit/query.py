"""govctl audit query, stats."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from audit.search import Query, search, with_index
from audit.search import stats as count
from audit.search.index import size_on_disk
from gateway.app import open_audit_store
from gateway.cli.audit.base import app
from gateway.cli.audit.checkpoint import latest
from gateway.cli.audit.reading import print_record
from gateway.cli.audit.times import TIME_HELP, parse_time
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, errors, print_json, print_table, say, when
from gateway.config import load_config


@app.command()
def query(
    since: Annotated[str | None, typer.Option(help=f"From then on. {TIME_HELP}", show_default=False)] = None,
    until: Annotated[str | None, typer.Option(help="Before then.", show_default=False)] = None,
    principal: Annotated[str | None, typer.Option(help="Who acted; * stands for anything.")] = None,
    system: Annotated[str | None, typer.Option(help="AI system.")] = None,
    action: Annotated[str | None, typer.Option(help="Action, such as model.invoke.")] = None,
    decision: Annotated[str | None, typer.Option(help="allow or deny.")] = None,
    agent: Annotated[str | None, typer.Option(help="Identity that the record is about.")] = None,
    trace: Annotated[str | None, typer.Option(help="Trace id.")] = None,
    reason: Annotated[str | None, typer.Option(help="One of the reasons of the decision.")] = None,
    record_type: Annotated[
        list[str] | None, typer.Option("--type", help="Record type, such as access.denied or policy.*; repeatable.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="Words that stand somewhere in the record, all of them.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Most records shown, the newest.")] = 100,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Find records; --json prints one record a line, exactly as it is in the log. What is given has all to hold."""
    settings = load_config(config)
    store = open_audit_store(settings)
    fields = (
        ("principal", principal), ("system", system), ("action", action), ("decision", decision), ("agent", agent),
        ("trace_id", trace),
    )  # fmt: skip
    wanted = Query(
        since=parse_time(since) if since is not None else 0,
        until=parse_time(until) if until is not None else 0,
        named=tuple((name, value) for name, value in fields if value is not None),
        types=tuple(record_type or ()),
        reason=reason or "",
        text=text or "",
        limit=limit,
    )
    with _catching_up(quiet=json) as advance:
        found = search(settings.audit_dir, store, wanted, advance)
    for record in found:
        print_record(record, json)
    if not found and not json:
        say("No record is so.")
    elif len(found) == limit and not json:
        say(f"These are the newest {limit}; for more, use --limit or --until.")


@app.command()
def stats(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Count the records by type, day, decision, principal and chain, their bytes, and how far the tree is."""
    settings = load_config(config)
    store = open_audit_store(settings)
    with _catching_up(quiet=json) as advance:
        counted = with_index(settings.audit_dir, store, count, advance)
    signed = latest(settings)
    behind = counted.records - (signed.checkpoint.size if signed is not None else 0)
    if json:
        print_json(
            {
                **asdict(counted),
                "tree_size": signed.checkpoint.size if signed is not None else 0,
                "not_in_tree": behind,
                "index_bytes": size_on_disk(settings.audit_dir),
            }
        )
        return
    if not counted.records:
        say(f"The log {store.log} has no record yet.")
        return
    say(
        f"{store.log}: {counted.records} records, {counted.bytes} bytes, {when(counted.first_ns / 1e9)} to "
        f"{when(counted.last_ns / 1e9)}. Not in the signed tree yet: {max(behind, 0)}."
    )
    for title, counts in (
        ("type", counted.types),
        ("decision", counted.decisions),
        ("principal", counted.principals),
        ("chain", counted.chains),
        ("day", counted.days),
    ):
        print_table([title, "records"], counts.items(), empty="")


@contextmanager
def _catching_up(*, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Show how many records the index takes that it did not have."""
    columns = (TextColumn("Indexing what is new"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=errors, transient=True, disable=quiet) as progress:
        task = progress.add_task("records", total=None)
        yield lambda done: progress.advance(task, done)
