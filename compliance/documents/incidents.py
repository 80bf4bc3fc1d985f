"""A report of each serious incident (Article 73), with what is left of its deadline."""

from collections.abc import Iterator

from compliance.documents.model import Document, Missing, Section, paragraph, table
from compliance.documents.view import NANOSECONDS, View, moment, signature, span
from compliance.populations.base import Row


def incident_reports(view: View) -> Iterator[Document]:
    """Yield a report for each incident of the system that has to be reported."""
    for number, row in enumerate(each for each in view.own_rows("incidents") if each["must_report"]):
        yield _report(view, row, number + 1)


def _report(view: View, row: Row, number: int) -> Document:
    return Document(
        f"article-73-serious-incident-{number}",
        f"Serious incident {row['incident']}: {view.called}",
        "A report after Article 73 of Regulation (EU) 2024/1689. A first report may be incomplete (Article 73(5)).",
        (
            Section(
                "Deadline",
                (
                    table(
                        ("What", "When"),
                        (
                            ("Aware of it", moment(row["aware_at"])),
                            ("Report due", moment(row["deadline"]) or "not yet known: it has to be assessed"),
                            ("Reported", moment(row["reported_at"]) or "not yet"),
                            ("Closed", moment(row["closed_at"]) or "not yet"),
                        ),
                        "",
                    ),
                    paragraph(left(row, view.facts.checkpoint.time_ns)),
                ),
                "Article 73(2) to (4)",
            ),
            Section(
                "What happened",
                (
                    paragraph(f"{row['title']}"),
                    table(("Class", ""), [(each, "") for each in _classes(row)], "It was not assessed yet."),
                    Missing("what happened, where, who was harmed and how"),
                ),
            ),
            Section(
                "Link to the system",
                (
                    Missing("whether a causal link to the system is established, or reasonably likely"),
                    table(
                        ("Model", "Version", "Provider"),
                        [(name, each.version, each.provider) for name, each in sorted(view.system.models.items())],
                        "The register lists no models.",
                    ),
                ),
                "Article 73(2)",
            ),
            Section(
                "Evidence",
                (
                    paragraph(
                        f"Legal hold: {row['hold'] or 'none is on record'}. The log {view.facts.origin} is signed with "
                        f"{view.facts.checkpoint.size} records; the system must not be changed in a way that affects a "
                        "later evaluation before the authorities are told (Article 73(6))."
                    ),
                ),
                "Article 73(6)",
            ),
            Section("Measures", (Missing("investigation, risk assessment, corrective action"),), "Article 73(6)"),
            signature(),
        ),
    )


def left(row: Row, now_ns: int) -> str:
    """Return how a deadline stands, at the time of the signed tree."""
    deadline, reported = row["deadline"], row["reported_at"]
    if not isinstance(deadline, int):
        return "The deadline begins to be counted when the incident is assessed; it counts from when it was known."
    if isinstance(reported, int):
        late = (reported - deadline) // NANOSECONDS
        return (
            f"It was reported {span(-late)} before the deadline."
            if late <= 0
            else f"It was reported {span(late)} late."
        )
    rest = (deadline - now_ns) // NANOSECONDS
    if rest < 0:
        return f"The deadline passed {span(-rest)} before the last record of the log, and no report is on record."
    return f"At the last record of the log ({moment(now_ns)}), {span(rest)} were left."


def _classes(row: Row) -> list[str]:
    found = row["classes"]
    return found if isinstance(found, list) else []
