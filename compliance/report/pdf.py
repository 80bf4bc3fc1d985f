"""Writes report.pdf: what index.html says, for whoever files paper."""

from compliance.evaluation.result import ControlResult, ControlTestResult
from compliance.package.facts import Facts
from compliance.report import view
from compliance.report.charts import ALLOWED_FILL, REFUSED_FILL, STATUS_FILL
from compliance.report.paper import Paper


def render_pdf(facts: Facts) -> bytes:
    """Return the report as PDF: the same bytes for the same facts."""
    paper = Paper(view.title(facts), facts.checkpoint.time_ns)
    paper.add_page()
    _begin(paper, facts)
    _summarise(paper, facts)
    _draw(paper, facts)
    for framework, results in view.by_framework(facts):
        for place, each in enumerate(results):
            paper.add_page()
            if place == 0:
                paper.start_section(paper.showable(framework.title), 0)
            _control(paper, facts, each)
    _end(paper, facts)
    return bytes(paper.output())


def _begin(paper: Paper, facts: Facts) -> None:
    paper.heading(f"Evidence for {view.subject(facts)}", 0, listed=False)
    paper.text_line(
        f"{facts.period}, from the audit log {facts.origin} of {facts.checkpoint.size} records. {view.NO_JUDGEMENT}"
    )
    paper.text_line(
        "Read COVERAGE.md first: it says what this package does not show. This file proves nothing by itself; verify "
        "the package that it is part of: python -I verify_evidence.py . --evidence-key KEY --log-key KEY"
    )


def _summarise(paper: Paper, facts: Facts) -> None:
    paper.heading("Summary", 1, listed=False)
    paper.rows(("Status", "Controls"), [(word, count) for _, word, count in view.counted(facts)], (3, 1))
    red = [each for each in view.ordered(facts) if each.status == "fail"]
    if red:
        paper.text_line("What failed", bold=True)
        paper.rows(
            ("Control", "System", "Binds", "Why"),
            [
                (
                    f"{each.control.id} {each.control.title}",
                    each.system or "all",
                    "yes" if each.binding else f"from {each.in_force}",
                    each.reason,
                )
                for each in red
            ],
            (5, 3, 3, 11),
        )
    if facts.evaluation.uncovered:
        paper.text_line("Days without data: each is a failure of every control that the log answers", bold=True)
        paper.rows(("Day", "Why"), facts.evaluation.uncovered, (1, 6))


def _draw(paper: Paper, facts: Facts) -> None:
    bars = view.calls_of_days(facts)
    if any(bar.allowed + bar.refused for bar in bars):
        paper.heading("Calls", 1, listed=False)
        paper.bars([(bar.day, ((bar.allowed, ALLOWED_FILL), (bar.refused, REFUSED_FILL))) for bar in bars])
        paper.rows(("Day", "Allowed", "Refused"), [(bar.day, bar.allowed, bar.refused) for bar in bars], (2, 1, 1))
    standings = view.standings(facts.evaluation.controls)
    if standings:
        paper.heading("Controls over time", 1, listed=False)
        paper.text_line("Each control that the log tests by day, as its worst test of that day.")
        paper.bars([(each.day, [(count, STATUS_FILL[status]) for status, count in each.counts]) for each in standings])
        words = [view.WORDS[status] for status, _ in standings[0].counts]
        figures = [(each.day, *(count for _, count in each.counts)) for each in standings]
        paper.rows(("Day", *words), figures, (2, *(1 for _ in words)))


def _control(paper: Paper, facts: Facts, result: ControlResult) -> None:
    control = result.control
    paper.heading(f"{control.id}: {control.title}", 1)
    of = f", system {result.system}" if result.system else ""
    paper.text_line(f"{view.WORDS[result.status]}{of}" + (f": {result.reason}" if result.reason else ""), bold=True)
    paper.text_line(control.paraphrase)
    others = " ".join(f"{name}: {', '.join(ids)}." for name, ids in sorted(control.crosswalk.items()))
    paper.text_line(f"{control.source}, {result.version}. {view.binding(result)} {others}")
    for test in result.tests:
        _test(paper, test)
    if result.person:
        paper.text_line("What a person has to supply", bold=True)
        paper.rows(
            ("Asked", "Status", "Said", "By, until"),
            [
                (
                    each.asks,
                    each.status,
                    f"{each.statement} ({each.reference})" if each.reference else each.statement,
                    ", ".join(said for said in (_named(facts, each.by), each.valid_until) if said),
                )
                for each in result.person
            ],
            (6, 2, 6, 4),
        )
    if control.cannot_know:
        paper.text_line("What the gateway cannot know", bold=True)
        for said in control.cannot_know:
            paper.text_line(f"– {said}")


def _test(paper: Paper, test: ControlTestResult) -> None:
    paper.heading(test.test.says, 2, listed=False)
    said = f"{view.WORDS[test.status]}: {test.measured}" + (f"; {test.reason}" if test.reason else "")
    paper.text_line(f"{said}. Threshold: {test.test.threshold_source}.")
    paper.strip([STATUS_FILL[each.status] for each in test.days])
    if test.days:
        counts = {status: sum(each.status == status for each in test.days) for status in STATUS_FILL}
        days = ", ".join(f"{count} days {view.WORDS[status]}" for status, count in counts.items() if count)
        paper.text_line(f"{test.days[0].day} to {test.days[-1].day}: {days}.")
    paper.text_line(f"Population {test.test.population}: {test.query}")
    if test.exceptions:
        rest = len(test.exceptions) - view.EXCEPTIONS
        paper.rows(
            ("Leaf", "Exception"),
            [(leaf if leaf >= 0 else "none", event or "no single record") for leaf, event in _listed(test)],
            (1, 5),
        )
        if rest > 0:
            paper.text_line(f"{rest} further exceptions are in evaluation.json.")


def _listed(test: ControlTestResult) -> tuple[tuple[int, str], ...]:
    return test.exceptions[: view.EXCEPTIONS]


def _named(facts: Facts, who: str) -> str:
    return who if who in ("", "register") else facts.pseudonym(who)


def _end(paper: Paper, facts: Facts) -> None:
    paper.add_page()
    paper.heading("Populations", 0)
    paper.text_line("Everything of its sort in the period, with the root (RFC 6962) that was committed to.")
    paper.rows(
        ("Population", "Rows", "Root"),
        [(each.population, each.rows, each.root) for each in sorted(facts.ipe, key=lambda each: each.population)],
        (2, 1, 7),
    )
    paper.heading("How it was made", 0)
    paper.rows(("What", "Value"), view.making(facts), (2, 6))
