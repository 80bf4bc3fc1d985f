"""govctl audit tail, show."""

import time
from typing import Annotated, Any

import orjson
import typer

from audit.store import AuditStore, StoredRecord
from gateway.app import open_audit_store
from gateway.cli.audit.base import app
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, print_json, say, when
from gateway.config import load_config

POLL_SECONDS = 0.5


@app.command()
def tail(
    count: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many records.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new records until Ctrl-C.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Show the last records of all chains, oldest first; --json prints one record a line."""
    store = open_audit_store(load_config(config))
    records = sorted(
        (record for chain in store.chains() for record in _last(store, chain, count)),
        key=lambda r: (r.time_ns, r.event_id),
    )
    for record in records[-count:] if count else []:
        print_record(record, json)
    ends = {chain: _end(store, chain) for chain in store.chains()} if follow else {}
    while follow:
        time.sleep(POLL_SECONDS)
        fresh: list[StoredRecord] = []
        for chain in store.chains():
            with store.reader(chain) as reader:
                fresh += reader.records(ends.get(chain, -1) + 1)
        for record in sorted(fresh, key=lambda r: (r.time_ns, r.event_id)):
            ends[record.chain] = max(ends.get(record.chain, -1), record.sequence)
            print_record(record, json)


@app.command()
def show(
    event_id: Annotated[str, typer.Argument(help="Event id of the record: the x-request-id of an answer.")],
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Show one record whole."""
    store = open_audit_store(load_config(config))
    record = store.find(event_id)
    if record is None:
        fail(f"the log {store.log} has no record {event_id}.")
    document = orjson.loads(record.record)
    if json:
        print_json(document)
        return
    say(f"Record {record.sequence} of {record.chain}, {when(record.time_ns / 1e9)}")
    say(f"Hash {record.hash}")
    print_json(document)


def _last(store: AuditStore, chain: str, count: int) -> list[StoredRecord]:
    with store.reader(chain) as reader:
        return reader.last(count)


def _end(store: AuditStore, chain: str) -> int:
    last = _last(store, chain, 1)
    return last[0].sequence if last else -1


def print_record(record: StoredRecord, json: bool) -> None:
    """Print a record: a line for a person, or exactly as it is in the log."""
    document: dict[str, Any] = orjson.loads(record.record)
    if json:
        typer.echo(record.record.decode())
        return
    resource = document.get("resource") or {}
    words = [
        when(record.time_ns / 1e9)[11:19],
        f"{record.chain}/{record.sequence}",
        f"{record.type:20}",
        str(document.get("principal") or document.get("agent") or ""),
        str(resource.get("id", "")),
        str(document.get("decision", "")),
        ",".join(document.get("reasons", [])),
    ]
    if record.type == "access.outcome":
        usage = document["usage"]
        words += [document["result"], f"{usage['input_tokens']} tokens in, {usage['output_tokens']} out"]
    if "agent" in document and document.get("principal"):
        words.append(str(document["agent"]))
    say(_plain("  ".join(word for word in words if word)))


def _plain(text: str) -> str:
    """Escape what could move the cursor or begin a line: what a caller sent is shown here."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
