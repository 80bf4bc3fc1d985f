"""Declaration of conformity (Annex V), registration (Annex VIII), and monitoring after placing on the market."""

from compliance.documents.model import Document, Missing, Section, paragraph, table
from compliance.documents.technical import models
from compliance.documents.view import View, moment, signature


def declaration(view: View) -> Document:
    """Return a declaration of conformity that somebody can complete and sign."""
    system = view.system
    return Document(
        "annex-v-declaration-of-conformity",
        f"EU declaration of conformity (draft): {view.called}",
        "A draft after Annex V of Regulation (EU) 2024/1689. It declares nothing until a person signs it.",
        (
            Section("1. System", (paragraph(f"{view.called} ({view.name})."), models(view)), "Annex V(1)"),
            Section(
                "2. Provider",
                (view.contact(system.provider, "name and address of the provider", "provider"),),
                "Annex V(2)",
            ),
            Section(
                "3. Responsibility",
                (Missing("that this declaration is issued under the sole responsibility of the provider"),),
                "Annex V(3)",
            ),
            Section(
                "4. Conformity",
                (Missing("that the system is in conformity with the Regulation and other law that applies"),),
                "Annex V(4)",
            ),
            Section(
                "5. Personal data",
                (
                    Missing("that it complies with Regulation (EU) 2016/679")
                    if system.processes_personal_data
                    else paragraph("The register declares no personal data."),
                ),
                "Annex V(5)",
            ),
            Section("6. Standards", (Missing("harmonised standards or common specifications used"),), "Annex V(6)"),
            Section(
                "7. Assessment",
                (
                    view.document(
                        system.conformity_assessment, "the conformity assessment, with the notified body if any",
                        "conformity_assessment",
                    ),
                ),
                "Annex V(7), Article 43",
            ),
            signature(),
        ),
    )  # fmt: skip


def registration(view: View) -> Document:
    """Return what has to be entered in the EU database."""
    system = view.system
    claimed = system.exception
    return Document(
        "annex-viii-registration",
        f"Registration data: {view.called}",
        "What Annex VIII of Regulation (EU) 2024/1689 asks to be entered in the EU database, in its order.",
        (
            Section(
                "Who",
                (
                    view.contact(system.provider, "name, address and contact of the provider", "provider"),
                    view.listed(system.roles, "what the company is to the system", "roles"),
                ),
                "Annex VIII",
            ),
            Section(
                "What",
                (
                    paragraph(f"{view.called} ({view.name})."),
                    view.text(system.intended_purpose, "the intended purpose", "intended_purpose"),
                    paragraph(f"Risk class that counts: {system.effective_risk}."),
                    view.text(
                        system.annex_iii,
                        "the area of Annex III",
                        "annex_iii",
                    ),
                    view.text(
                        f"Article {claimed.article}, since {claimed.reason}" if claimed else None,
                        "an exception that is claimed, and why",
                        "exception",
                    ),
                ),
            ),
            Section(
                "State",
                (
                    view.text(
                        system.in_service_since,
                        "in service since",
                        "in_service_since",
                    ),
                    view.listed(system.regions, "where it is used", "regions"),
                    view.text(system.registration, "the number of the entry", "registration"),
                ),
            ),
            Section(
                "Documents",
                (
                    view.text(system.instructions_for_use, "the instructions for use", "instructions_for_use"),
                    view.text(system.fria, "a summary of the fundamental rights impact assessment", "fria"),
                    view.document(system.dpia, "a summary of the data protection impact assessment", "dpia"),
                ),
            ),
            signature(),
        ),
    )  # fmt: skip


def monitoring_report(view: View) -> Document:
    """Return the report of monitoring after placing on the market."""
    days: dict[str, list[int]] = {day.isoformat(): [0, 0, 0] for day in view.facts.period.days()}
    for row in view.facts.data.rows("calls", view.name) if "calls" in view.facts.data.populations else ():
        day = days.get(str(row["day"]))
        if day is not None:
            day[0] += 1
            day[1] += row["decision"] != "allow"
            day[2] += row["decision"] == "allow" and row["result"] != "completed"
    uncovered = dict(view.facts.evaluation.uncovered)
    return Document(
        "article-72-monitoring-report",
        f"Monitoring report: {view.called}",
        "What was observed of the system in use, for the plan of Article 72 of Regulation (EU) 2024/1689.",
        (
            Section(
                "Plan",
                (view.document(view.system.monitoring_plan, "the monitoring plan", "monitoring_plan"),),
                "Article 72(3)",
            ),
            Section(
                "Each day",
                (
                    table(
                        ("Day", "Calls", "Refused", "Not completed", "Data"),
                        [
                            (day, *counts, uncovered.get(day, "covered by the log"))
                            for day, counts in sorted(days.items())
                        ],
                        "",
                    ),
                    view.shown("AIA-72"),
                ),
                "Article 72(2)",
            ),
            Section(
                "Incidents",
                (
                    table(
                        ("Incident", "Aware", "Classes", "Reported", "Closed"),
                        [
                            (
                                row["incident"],
                                moment(row["aware_at"]),
                                row["classes"],
                                moment(row["reported_at"]) or "no",
                                moment(row["closed_at"]) or "no",
                            )
                            for row in view.own_rows("incidents")
                        ],
                        "No incident is on record in the period.",
                    ),
                ),
            ),
            Section("What follows from it", (Missing("conclusions, corrective and preventive measures"),)),
            Section("Figures", (paragraph(view.period()),)),
            signature(),
        ),
    )
