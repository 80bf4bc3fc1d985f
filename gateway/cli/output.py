"""How govctl speaks: tables for people, JSON for programs, errors on standard error."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

console = Console(highlight=False, emoji=False)
errors = Console(stderr=True, highlight=False, emoji=False)

ConfigOption = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="GOVGATEWAY_CONFIG", help="Configuration file.", show_default=True),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

DEFAULT_CONFIG = Path("govgateway.yaml")


def fail(message: str, code: int = 1) -> NoReturn:
    """Print an error to standard error and leave with `code`."""
    errors.print(f"Error: {message}", style="red", markup=False, soft_wrap=True)
    sys.exit(code)


def say(message: str) -> None:
    """Print a line for a person."""
    console.print(message, markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output, without colours."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print rows as a table, or `empty` when there are none."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    count = 0
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
        count += 1
    if count:
        console.print(table, markup=False)
    else:
        say(empty)


def when(seconds: float) -> str:
    """Format UNIX seconds for a person (UTC)."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
