"""govctl audit migrate, copy: the tables of a database, and moving the log from one store to the other."""

from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from audit.store import copy as copy_log
from audit.store import open_store
from gateway.app import open_audit_store
from gateway.cli.audit.base import app
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, errors, fail, print_json, say
from gateway.config import load_config
from gateway.errors import UnavailableError
from gateway.secrets.reference_store import ReferenceStore


@app.command()
def migrate(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Make or renew the tables of the database that audit.database names; run it with a role that may."""
    from audit.store.postgres import PostgresStore  # noqa: PLC0415 - the driver is loaded only where it is used

    store = open_audit_store(load_config(config))
    if not isinstance(store, PostgresStore):
        fail("audit.database is not set: the log is in SQLite files, which need no migration.")
    before, after = store.migrate()
    if json:
        print_json({"database": store.shown, "before": before, "after": after})
    elif before == after:
        say(f"{store.shown} has the tables of this version already ({after}).")
    else:
        say(f"{store.shown}: tables brought from {before or 'nothing'} to {after}.")


@app.command("copy")
def copy_store(
    to: Annotated[
        str, typer.Option("--to", help="Reference of a database's URL, such as file:audit.url, or a directory.")
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Copy the chains into another store, keeping bytes, hashes and numbers; goes on where it stopped.

    Stop the gateway first. Each record is verified on its way.
    """
    loaded = load_config(config)
    source = open_audit_store(loaded)
    target = open_store(_where(to), source.log)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=json) as progress:
        tasks: dict[str, TaskID] = {}

        def told(chain: str, done: int, total: int) -> None:
            if chain not in tasks:
                tasks[chain] = progress.add_task(chain, total=total)
            progress.update(tasks[chain], completed=done)

        written = copy_log(source, target, told)
    if json:
        print_json({"log": source.log, "chains": source.chains(), "copied": written})
    else:
        say(f"{written} records of {source.log} copied; {len(source.chains())} chains are the same in both stores.")
        say("Set audit.database (or audit.directory) to the new store, and start the gateway.")


def _where(to: str) -> str:
    """Return the URL that a reference names, or the directory."""
    if "://" in to:
        fail("Give the URL by reference, such as file:audit.url or env:AUDIT_URL: it may hold a password.")
    if to.partition(":")[0] in {"file", "env"}:
        try:
            return ReferenceStore().read(to).reveal().decode().strip()
        except UnavailableError as error:
            fail(f"--to: {error.detail}")
    return to
