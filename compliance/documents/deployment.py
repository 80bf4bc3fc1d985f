"""What a deployer of a high-risk system keeps (Article 26), and the frame of its impact assessment (Article 27)."""

from compliance.documents.model import Block, Document, Missing, Section, paragraph, table
from compliance.documents.view import View, moment, signature


def deployer_record(view: View) -> Document:
    """Return the record of a deployer."""
    system = view.system
    return Document(
        "article-26-deployer-record",
        f"Deployer's record: {view.called}",
        "Brings together what a deployer of a high-risk system has to be able to show after Article 26 of Regulation "
        "(EU) 2024/1689.",
        (
            Section(
                "Use as the instructions say",
                (
                    view.text(system.instructions_for_use, "the instructions for use", "instructions_for_use"),
                    view.listed(system.purposes, "the actions that the intended purpose covers", "purposes"),
                    view.shown("AIA-26.1"),
                ),
                "Article 26(1)",
            ),
            Section("Who oversees it", (_overseers(view), view.shown("AIA-26.2")), "Article 26(2)"),
            Section(
                "Input data",
                (Missing("how it is seen to that input data fit the intended purpose"),),
                "Article 26(4)",
            ),
            Section("Monitoring", (_oversight(view), view.shown("AIA-26.5")), "Article 26(5)"),
            Section("Logs", (view.shown("AIA-19"),), "Article 26(6)"),
            Section(
                "Notices",
                (
                    Missing("how and when workers and their representatives were told"),
                    Missing("how people about whom it helps to decide are told"),
                    view.shown("AIA-26.7"),
                ),
                "Article 26(7) and (11)",
            ),
            Section(
                "Registration",
                (view.text(system.registration, "the entry in the EU database", "registration"),),
                "Article 26(8), Article 49",
            ),
            Section(
                "Data protection impact assessment",
                (view.document(system.dpia, "the assessment", "dpia"),),
                "Article 26(9)",
            ),
            Section("Figures", (paragraph(view.period()),)),
            signature(),
        ),
    )


def impact_assessment(view: View) -> Document:
    """Return the frame of a fundamental rights impact assessment."""
    system = view.system
    return Document(
        "article-27-fundamental-rights-impact-assessment",
        f"Fundamental rights impact assessment: {view.called}",
        "A frame after Article 27(1)(a) to (f) of Regulation (EU) 2024/1689. It is no assessment until people fill "
        "it in. A data protection impact assessment may be referred to where it says the same (Article 27(4)).",
        (
            Section(
                "(a) Process in which it is used",
                (
                    view.text(system.intended_purpose, "the intended purpose", "intended_purpose"),
                    Missing("the process that it is used in"),
                ),
                "Article 27(1)(a)",
            ),
            Section("(b) Period and frequency", (_frequency(view), view.shown("AIA-27")), "Article 27(1)(b)"),
            Section(
                "(c) Persons and groups affected",
                (view.listed(system.affected_groups, "who is likely to be affected", "affected_groups"),),
                "Article 27(1)(c)",
            ),
            Section(
                "(d) Risks of harm",
                (
                    Missing("the specific risks of harm to these groups, with what the provider says of them"),
                    view.document(system.risk_file, "the risk management file", "risk_file"),
                ),
                "Article 27(1)(d)",
            ),
            Section(
                "(e) Human oversight",
                (
                    view.listed(system.oversight.measures, "measures of human oversight", "oversight.measures"),
                    _overseers(view),
                    view.shown("AIA-14"),
                ),
                "Article 27(1)(e)",
            ),
            Section(
                "(f) If a risk comes true",
                (Missing("measures, arrangements for governance, and how complaints are made"),),
                "Article 27(1)(f)",
            ),
            Section(
                "Notification",
                (
                    view.text(system.fria, "where the finished assessment is kept", "fria"),
                    Missing("when the market surveillance authority was told of it (Article 27(3))"),
                ),
                "Article 27(3)",
            ),
            signature(),
        ),
    )


def _overseers(view: View) -> Block:
    known = {each.person: each for each in view.system.oversight.training}
    if not view.system.oversight.overseers:
        return Missing("who oversees it", "oversight.overseers")
    rows = []
    for person in view.system.oversight.overseers:
        training = known.get(person)
        said = (training.reference, training.date, training.valid_until) if training else ("none is listed", "", "")
        rows.append((person, *said))
    return table(("Overseer", "Training", "On", "Valid until"), rows, "")


def _oversight(view: View) -> Block:
    rows = [(moment(row["time"]), row["kind"], row["reason"]) for row in view.own_rows("oversight")]
    return table(("When", "Act of oversight", "Reason"), rows, "No act of human oversight is on record in the period.")


def _frequency(view: View) -> Block:
    declared = view.system.expected_calls_per_day
    days = sum(1 for _ in view.facts.period.days())
    rows = [
        ("Calls in the period", view.calls()),
        ("Days", days),
        ("Calls a day, rounded down", view.calls() // days),
        ("Declared calls a day", "not declared" if declared is None else declared),
        ("In service since", view.system.in_service_since or "not declared"),
    ]
    return table(("Figure", "Value"), rows, "")
