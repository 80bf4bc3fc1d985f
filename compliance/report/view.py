"""What the report says, for the page and for the PDF: words, order, and the figures of each day."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compliance.evaluation.conditions import quoted
from compliance.evaluation.result import ControlResult
from compliance.package.facts import Facts

EXCEPTIONS = 50
"""Exceptions that a report lists of a test; all of them are in evaluation.json."""

STATUSES = ("fail", "partial", "pass", "attested", "not-testable", "not-applicable")
"""In the order in which a reader wants them."""

WORDS = {
    "pass": "passed",
    "fail": "failed",
    "partial": "partial",
    "attested": "attested",
    "not-applicable": "not applicable",
    "not-testable": "not testable",
    "no-data": "no data",
}

NO_JUDGEMENT = "It supports a judgement and is none: no statement of conformity or compliance is made."

_WORST = ("fail", "no-data", "partial", "pass")


@dataclass(frozen=True, slots=True)
class Bar:
    """A day of the chart of calls."""

    day: str
    allowed: int
    refused: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How many of the controls that the log tests each day stood how on one day."""

    day: str
    counts: tuple[tuple[str, int], ...]


def subject(facts: Facts) -> str:
    """Return what the report is about."""
    return facts.system or "the whole organisation"


def title(facts: Facts) -> str:
    """Return the report's title."""
    return f"Evidence: {subject(facts)}, {facts.period}"


def ordered(facts: Facts) -> list[ControlResult]:
    """Return the controls, what matters most first."""
    return sorted(facts.evaluation.controls, key=lambda each: STATUSES.index(each.status))


def counted(facts: Facts) -> list[tuple[str, str, int]]:
    """Return each status with its word and the number of controls that have it."""
    results = facts.evaluation.controls
    return [(status, WORDS[status], sum(each.status == status for each in results)) for status in STATUSES]


def by_framework(facts: Facts) -> list[tuple[Any, list[ControlResult]]]:
    """Return each framework with its controls."""
    return [
        (framework, [each for each in facts.evaluation.controls if each.framework == framework.framework])
        for framework in facts.evaluation.frameworks
    ]


def binding(result: ControlResult) -> str:
    """Return from when a control binds, as a sentence; empty where no date is known."""
    if not result.in_force:
        return ""
    if result.binding:
        return f"In force since {result.in_force}."
    return f"Not in force before {result.in_force}: this is preparation."


def calls_of_days(facts: Facts) -> list[Bar]:
    """Return the calls of each day. Figures alone: no name is in them. The system is quoted, hence no S608."""
    if "calls" not in facts.data.populations:
        return []
    about = f" WHERE system = {quoted(facts.system)}" if facts.system else ""
    found: dict[str, list[int]] = {day.isoformat(): [0, 0] for day in facts.period.days()}
    for day, decision, count in facts.data.query(f"SELECT day, decision, count(*) FROM calls{about} GROUP BY 1, 2"):  # noqa: S608
        if day in found:
            found[day][0 if decision == "allow" else 1] += int(count)
    return [Bar(day, allowed, refused) for day, (allowed, refused) in sorted(found.items())]


def standings(results: Sequence[ControlResult]) -> list[Standing]:
    """Return how the controls stood on each day: a control is as its worst test of that day."""
    days: dict[str, dict[str, int]] = {}
    for result in results:
        worst: dict[str, str] = {}
        for test in result.tests:
            for each in test.days:
                before = worst.get(each.day, "pass")
                worst[each.day] = min(before, each.status, key=_WORST.index)
        for day, status in worst.items():
            counts = days.setdefault(day, dict.fromkeys(_WORST, 0))
            counts[status] += 1
    return [Standing(day, tuple(counts.items())) for day, counts in sorted(days.items())]


def making(facts: Facts) -> list[tuple[str, str]]:
    """Return how the package was made: keys, digests, versions."""
    return [
        ("Signed by the key", facts.fingerprint),
        ("Commitment", facts.commitment.digest),
        ("Root of the log", facts.checkpoint.root.hex()),
        ("Configuration", facts.configuration_digest),
        ("Options named unsafe", ", ".join(facts.unsafe_options) or "none in use"),
        ("Auditor's seed", facts.seed or "none yet: nothing was drawn"),
        ("Names of people", "real" if facts.real_names else "pseudonyms"),
        *sorted(facts.versions.items()),
    ]
