"""Writes index.html: the summary, charts, and a page a control."""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from compliance.evaluation.conditions import quoted
from compliance.evaluation.result import ControlResult
from compliance.package.facts import Facts
from compliance.package.output import Output
from compliance.report.charts import Bar, calls_chart, days_strip

EXCEPTIONS = 50
"""Exceptions listed on the page; all of them are in evaluation.json."""

STATUSES = ("fail", "partial", "pass", "attested", "not-testable", "not-applicable")
"""In the order in which a reader wants them."""

WORDS = {
    "pass": "passed",
    "fail": "failed",
    "partial": "partial",
    "attested": "attested",
    "not-applicable": "not applicable",
    "not-testable": "not testable",
}


class Report:
    """The page for people (`compliance.package.part.Part`)."""

    def write(self, facts: Facts, out: Output) -> None:
        """Write index.html."""
        out.write("index.html", "text/html", render(facts))


def render(facts: Facts) -> bytes:
    """Return the page: no script, no network, the same bytes for the same facts."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("compliance.report").joinpath("page.html.j2").read_text("utf-8"))
    ordered = sorted(facts.evaluation.controls, key=lambda each: STATUSES.index(each.status))
    return template.render(
        facts=facts,
        of=facts.system or "the whole organisation",
        words=WORDS,
        counts=_counts(ordered),
        frameworks=_by_framework(facts),
        red=[each for each in ordered if each.status == "fail"],
        anchor=anchor,
        chart=calls_chart(_bars(facts)),
        bars=_bars(facts),
        strip=days_strip,
        exceptions=EXCEPTIONS,
        populations=sorted(facts.ipe, key=lambda each: each.population),
    ).encode()


def anchor(result: ControlResult) -> str:
    """Return the name of a control's place on the page."""
    said = f"{result.framework}-{result.control.id}-{result.system or 'all'}"
    return "".join(each if each.isalnum() or each in "-._" else "-" for each in said)


def _counts(results: Sequence[ControlResult]) -> list[tuple[str, str, int]]:
    return [(status, WORDS[status], sum(each.status == status for each in results)) for status in STATUSES]


def _by_framework(facts: Facts) -> list[tuple[Any, list[ControlResult]]]:
    return [
        (framework, [each for each in facts.evaluation.controls if each.framework == framework.framework])
        for framework in facts.evaluation.frameworks
    ]


def _bars(facts: Facts) -> list[Bar]:
    """Return the calls of each day. Figures alone: no name is in them. The system is quoted, hence no S608."""
    if "calls" not in facts.data.populations:
        return []
    about = f" WHERE system = {quoted(facts.system)}" if facts.system else ""
    found: dict[str, list[int]] = {day.isoformat(): [0, 0] for day in facts.period.days()}
    for day, decision, count in facts.data.query(f"SELECT day, decision, count(*) FROM calls{about} GROUP BY 1, 2"):  # noqa: S608
        if day in found:
            found[day][0 if decision == "allow" else 1] += int(count)
    return [Bar(day, allowed, refused) for day, (allowed, refused) in sorted(found.items())]


REPORT = Report()
