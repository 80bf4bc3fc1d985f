"""Writes index.html: the summary, charts, and a page a control."""

from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from compliance.evaluation.result import ControlResult
from compliance.package.facts import Facts
from compliance.report import view
from compliance.report.charts import calls_chart, days_strip, standings_chart


def render(facts: Facts) -> bytes:
    """Return the page: no script, no network, the same bytes for the same facts."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("compliance.report").joinpath("page.html.j2").read_text("utf-8"))
    bars, standings = view.calls_of_days(facts), view.standings(facts.evaluation.controls)
    return template.render(
        facts=facts,
        title=view.title(facts),
        of=view.subject(facts),
        no_judgement=view.NO_JUDGEMENT,
        words=view.WORDS,
        counts=view.counted(facts),
        frameworks=view.by_framework(facts),
        red=[each for each in view.ordered(facts) if each.status == "fail"],
        binding=view.binding,
        anchor=anchor,
        chart=calls_chart(bars),
        bars=bars,
        standings=standings,
        standings_chart=standings_chart(standings),
        strip=days_strip,
        exceptions=view.EXCEPTIONS,
        making=view.making(facts),
        populations=sorted(facts.ipe, key=lambda each: each.population),
    ).encode()


def anchor(result: ControlResult) -> str:
    """Return the name of a control's place on the page."""
    said = f"{result.framework}-{result.control.id}-{result.system or 'all'}"
    return "".join(each if each.isalnum() or each in "-._" else "-" for each in said)
