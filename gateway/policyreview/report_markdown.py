"""The reports as a comment of a pull request: short, bounded, and inert whatever names it shows."""

from collections.abc import Iterable

from gateway.policyreview.differences import Differences
from gateway.policyreview.impact import Impact
from gateway.policyreview.inert import code, plain
from gateway.policyreview.report_tables import Report, difference_tables, impact_tables, summary
from gateway.policyreview.thresholds import Crossed

MAX_CHARACTERS = 60_000
"""Longest comment (characters); forges refuse longer ones than 65,536."""

MARK = "<!-- govgateway policy impact -->"
"""First line of a comment, by which a pipeline finds the one to replace."""

TOP_ROWS = 10
DETAIL_ROWS = 60
"""Rows of a table; it says how many more there are."""

CELL = 160
"""Longest text of one cell (characters)."""

_RESERVE = 300
_BARE = frozenset({"", "calls", "tokens", "allowed → refused", "refused → allowed", "new", "change"})
"""Columns whose cells are ours: numbers and fixed words."""


def impact_markdown(impact: Impact, crossed: list[Crossed], price_per_1k: float | None = None) -> str:
    """Return the impact report, at most `MAX_CHARACTERS` long."""
    names = impact.differences
    lines = [MARK, "## Impact of the policy change", ""]
    lines += [f"From {_revision(names.base)} to {_revision(names.candidate)}.", ""]
    for each in crossed:
        lines.append(f"- **Threshold crossed**: {each}")
    if crossed:
        lines.append("")
    counts = impact.counts()
    if not any(value for key, value in counts.items() if key != "recorded"):
        lines += ["No recorded call is decided otherwise.", ""]
    lines += ["| | |", "| --- | ---: |"]
    lines += [f"| {name} | {value} |" for name, value in summary(impact, price_per_1k)]
    return _bounded("\n".join(lines) + "\n", [*impact_tables(impact), *_folded(difference_tables(names))])


def differences_markdown(changes: Differences) -> str:
    """Return the differences, at most `MAX_CHARACTERS` long."""
    head = f"## What the policy change changes\n\nFrom {_revision(changes.base)} to {_revision(changes.candidate)}.\n"
    if not changes:
        return f"{head}\nNothing: only layout, comments or tests differ.\n"
    return _bounded(head, list(difference_tables(changes)))


def _folded(tables: Iterable[Report]) -> list[Report]:
    return [Report(f"What changed: {each.title.lower()}", each.columns, each.rows, detail=True) for each in tables]


def _revision(names: object) -> str:
    assert isinstance(names, dict)  # noqa: S101 - `Revision.document`
    return f"{code(names['name'])} ({code(names['revision'], 24)})"


def _bounded(head: str, tables: list[Report]) -> str:
    """Return head and tables; each table may take its share of what room is left."""
    text = head
    for place, table in enumerate(tables):
        room = (MAX_CHARACTERS - _RESERVE - len(text)) // (len(tables) - place)
        text += _table(table, room)
    return text


def _table(table: Report, room: int) -> str:
    opening = f"\n<details><summary>{table.title}</summary>\n\n" if table.detail else f"\n### {table.title}\n\n"
    closing = "\n</details>\n" if table.detail else ""
    opening += f"| {' | '.join(table.columns)} |\n|{' --- |' * len(table.columns)}\n"
    room -= len(opening) + len(closing) + 80
    rows: list[str] = []
    for row in table.rows[: DETAIL_ROWS if table.detail else TOP_ROWS]:
        line = f"| {' | '.join(map(_cell, table.columns, row))} |\n"
        room -= len(line)
        if room < 0:
            break
        rows.append(line)
    more = len(table.rows) - len(rows)
    end = f"\n… and {more:,} more.\n" if more else ""
    return f"{opening}{''.join(rows)}{end}{closing}"


def _cell(column: str, text: str) -> str:
    return plain(text) if column in _BARE else code(text, CELL)
