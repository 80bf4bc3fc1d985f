"""The tables of the reports for people: titles, columns and cells, the same for a terminal and for Markdown."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.policyreview.differences import Differences, FieldChange
from gateway.policyreview.grants import Access
from gateway.policyreview.impact import ALLOW_TO_DENY, Flip, Impact
from gateway.policyreview.impact_totals import totals_by

SHOWN = 4
"""Names listed in one cell; it says how many more there are."""


@dataclass(frozen=True, slots=True)
class Report:
    """A table of a report; every cell is text, and may be anybody's.

    Attributes:
        title: what it shows.
        columns: names of the columns.
        rows: the cells.
        detail: whether it belongs to the details, which a reader unfolds.
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    detail: bool = False


def summary(impact: Impact, price_per_1k: float | None) -> list[tuple[str, str]]:
    """Return the lines of the summary: what, and how many."""
    counts = impact.counts()
    lines = [
        ("recorded decisions replayed", f"{counts['recorded']:,} ({impact.recorded.inputs:,} distinct)"),
        ("principals seen", f"{impact.principals:,}"),
        ("allowed → refused", f"{counts['allow_to_deny']:,}"),
        ("refused → allowed", f"{counts['deny_to_allow']:,}"),
        ("other bound or region", f"{counts['obligations']:,}"),
        ("models lost that were used", f"{counts['lost_access']:,}"),
        ("newly granted accesses", f"{counts['new_access']:,}"),
        ("new violations of separation of duties", f"{counts['separation_of_duties']:,}"),
        ("principals with other quota limits", f"{counts['limits']:,}"),
        ("tokens of calls that would be refused", f"{counts['tokens']:,}"),
    ]
    if price_per_1k is not None:
        lines.append(("their cost", f"{counts['tokens'] / 1000 * price_per_1k:,.2f}"))
    if counts["undecided"]:
        lines.append(("decided by neither revision", f"{counts['undecided']:,}"))
    if impact.departing:
        lines.append(("replayed by the base otherwise than recorded", f"{impact.departing:,}"))
    return lines


def impact_tables(impact: Impact) -> Iterator[Report]:
    """Yield the tables of an impact report that have rows, the most telling first."""
    for table in _all_tables(impact):
        if table.rows:
            yield table


def _all_tables(impact: Impact) -> Iterator[Report]:
    turned = ("allowed → refused", "refused → allowed", "tokens")
    yield Report(
        "Models lost that were used",
        ("principal", "model", "calls", "tokens"),
        [(e.who[0], e.model, _n(e.count.decisions), _n(e.count.tokens)) for e in impact.lost_access],
    )
    yield Report(
        "Separation of duties violated",
        ("principal", "duties", "roles", "why", "new"),
        [(e.who[0], e.duties, ", ".join(e.roles), e.why, "new" if e.new else "before, too") for e in impact.violations],
    )
    for by in ("rule", "principal", "resource"):
        sums = [(e.name, _n(e.allow_to_deny), _n(e.deny_to_allow), _n(e.tokens)) for e in totals_by(impact, by)]
        yield Report(f"Decisions that turn, by {by}", (by, *turned), sums)
    columns = ("principal", "action", "resource", "rule", "granted by", "calls", "tokens")
    for title, change in (("Allowed → refused", True), ("Refused → allowed", False)):
        rows = [_flip(each) for each in impact.flips if (each.change == ALLOW_TO_DENY) is change]
        yield Report(title, columns, rows, detail=True)
    yield Report(
        "Bounds and regions that change",
        ("principal", "action", "resource", "obligation", "before", "after", "", "calls"),
        [
            (e.principal, e.action, e.resource, e.type, _value(e.before), _value(e.after), e.direction, _n(e.decisions))
            for e in impact.obligations
        ],
        detail=True,
    )
    yield Report(
        "Quota limits that change",
        ("limit", "before", "after", "", "principals"),
        [(e.name, _value(e.before), _value(e.after), e.direction, _some(e.principals)) for e in impact.limits],
        detail=True,
    )
    yield Report(
        "Newly granted",
        ("subject", "role", "action", "resource", "refused calls it lets through"),
        [
            (e.granted.subject, e.granted.role, e.granted.action, e.granted.resource, _n(e.decisions) or "nobody asked")
            for e in impact.new_access
        ],
        detail=True,
    )
    yield Report(
        "Decided by neither revision",
        ("principal", "action", "resource", "calls"),
        [(e.who[0], e.action, e.resource, _n(e.count.decisions)) for e in impact.undecided],
        detail=True,
    )


def difference_tables(changes: Differences) -> Iterator[Report]:
    """Yield the tables of the differences that have rows."""
    for table in (
        Report(
            "Roles",
            ("role", "change", "gained", "lost", "other"),
            [(e.role, e.change, _accesses(e.gained), _accesses(e.lost), _fields(e.fields)) for e in changes.roles],
        ),
        Report(
            "Subjects",
            ("subject", "gained", "lost", "may do now", "may no longer do"),
            [
                (e.subject, _some(e.gained), _some(e.lost), _accesses(e.access_gained), _accesses(e.access_lost))
                for e in changes.subjects
            ],
        ),
        Report(
            "Tables",
            ("table", "entry", "change", "what"),
            [(e.table, e.entry, e.change, _fields(e.fields)) for e in changes.entries],
        ),
        Report(
            "Rules",
            ("file", "rule", "change"),
            [(f"{e.file}:{e.line}", e.rule, e.change) for e in changes.rules],
        ),
    ):
        if table.rows:
            yield table


def _flip(flip: Flip) -> tuple[str, ...]:
    count = flip.count
    reasons, roles = ", ".join(flip.reasons), ", ".join(flip.roles)
    return (flip.who[0], flip.action, flip.resource, reasons, roles, _n(count.decisions), _n(count.tokens))


def _accesses(pairs: tuple[Access, ...]) -> str:
    return _some([f"{action} on {resource}" for action, resource in pairs])


def _fields(fields: tuple[FieldChange, ...]) -> str:
    return _some([f"{each.field}: {_value(each.before)} → {_value(each.after)}" for each in fields], "; ")


def _some(names: tuple[str, ...] | list[str], separator: str = ", ") -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return separator.join(names[:SHOWN]) + more


def _value(value: object) -> str:
    return "none" if value is None else str(value)


def _n(number: int) -> str:
    return f"{number:,}" if number else ""
