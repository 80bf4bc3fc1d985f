"""The reports on a terminal."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.policyreview.differences import Differences
from gateway.policyreview.impact import Impact
from gateway.policyreview.inert import plain
from gateway.policyreview.report_tables import Report, difference_tables, impact_tables, summary
from gateway.policyreview.thresholds import Crossed

ROWS = 25
"""Rows of a table; it says how many more there are."""


def print_impact(console: Console, impact: Impact, crossed: list[Crossed], price_per_1k: float | None = None) -> None:
    """Print the impact report."""
    names = impact.differences
    _line(console, f"From {_revision(names.base)} to {_revision(names.candidate)}")
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in summary(impact, price_per_1k):
        table.add_row(Text(name), Text(value))
    console.print(table)
    _tables(console, impact_tables(impact))
    for each in crossed:
        console.print(Text(f"Threshold crossed: {each}", style="red"))


def print_differences(console: Console, changes: Differences) -> None:
    """Print the differences."""
    _line(console, f"From {_revision(changes.base)} to {_revision(changes.candidate)}")
    if not changes:
        _line(console, "Nothing changed: only layout, comments or tests differ.")
    _tables(console, difference_tables(changes))


def _revision(names: object) -> str:
    assert isinstance(names, dict)  # noqa: S101 - `Revision.document`
    return f"{plain(names['name'])} ({plain(names['revision'], 24)})"


def _tables(console: Console, reports: Iterable[Report]) -> None:
    for report in reports:
        console.print()
        console.print(Text(report.title, style="bold"))
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in report.columns:
            table.add_column(column, overflow="fold")
        for row in report.rows[:ROWS]:
            table.add_row(*(Text(plain(cell, 400)) for cell in row))
        console.print(table)
        if len(report.rows) > ROWS:
            _line(console, f"… and {len(report.rows) - ROWS:,} more (--format json lists them).")


def _line(console: Console, text: str) -> None:
    console.print(Text(text), soft_wrap=True)
