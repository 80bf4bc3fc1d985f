"""Documents of the whole organisation: SOC 2 control matrix, record of processing, erasure certificates."""

from collections.abc import Iterator

from compliance.documents.model import Block, Document, Missing, Section, paragraph, table
from compliance.documents.view import STATUS, View, measured, moment, signature
from compliance.package.facts import Facts
from compliance.register.model import AiSystem


def control_matrix(facts: Facts) -> Document:
    """Return all controls of SOC 2 with their tests, and what supports the management's assertion."""
    found = [each for each in facts.evaluation.controls if each.framework == "soc2"]
    rows = [
        (
            each.control.id,
            each.control.title,
            test.test.says,
            test.test.population,
            test.rows,
            test.measured,
            len(test.exceptions),
            test.status,
        )
        for each in found
        for test in each.tests
    ]
    exceptions = [each for each in found if each.status in ("fail", "partial")]
    return Document(
        "soc-2-control-matrix",
        f"SOC 2 control matrix: {facts.gateway}",
        "Every criterion of the catalogue with its tests over the whole period and all exceptions. It supports a "
        "management's assertion and an examination; it replaces neither.",
        (
            Section("Tests", (table(_COLUMNS, rows, "No criterion with tests was evaluated."),)),
            Section(
                "Criteria",
                (
                    table(
                        ("Criterion", "Title", "Result", "Why"),
                        [
                            (each.control.id, each.control.title, STATUS[each.status], each.reason or measured(each))
                            for each in found
                        ],
                        "None was evaluated.",
                    ),
                ),
            ),
            Section(
                "Exceptions",
                (
                    table(
                        ("Criterion", "Test", "Exceptions", "Days without a pass"),
                        [
                            (
                                each.control.id,
                                test.test.id,
                                len(test.exceptions),
                                sum(day.status != "pass" for day in test.days),
                            )
                            for each in exceptions
                            for test in each.tests
                            if test.status != "pass"
                        ],
                        "There are none.",
                    ),
                    Missing("the cause of each exception, and what was done"),
                ),
            ),
            Section(
                "Days that the log does not cover",
                (table(("Day", "Why"), facts.evaluation.uncovered, "Every day of the period is covered."),),
            ),
            Section(
                "Management's assertion",
                (
                    Missing("the description of the system and its boundaries"),
                    Missing("the assertion that controls were suitably designed and operated over the period"),
                    Missing("controls that user entities and subservice organisations have to have"),
                ),
            ),
            signature(),
        ),
    )


_COLUMNS = ("Criterion", "Title", "Test", "Population", "Rows", "Measured", "Exceptions", "Result")


def processing_record(facts: Facts) -> Document:
    """Return the record of processing activities of the systems that process personal data."""
    names = [facts.system] if facts.system else sorted(facts.register)
    sections = [
        _processing(View(facts, name, entry))
        for name, entry in ((name, facts.register[name]) for name in names)
        if AiSystem.model_validate(entry).processes_personal_data
    ]
    return Document(
        "gdpr-article-30-record",
        f"Record of processing activities: {facts.system or facts.gateway}",
        "After Article 30(1)(a) to (g) of Regulation (EU) 2016/679, for the AI systems whose calls pass the gateway.",
        (*(each for each in sections), *_no_processing(len(sections)), signature()),
    )


def _no_processing(found: int) -> Iterator[Section]:
    if not found:
        yield Section("No processing", (paragraph("No system of the register declares personal data."),))


def _processing(view: View) -> Section:
    system = view.system
    recipients = [
        (each.name, each.country, each.transfer_basis or "", "yes" if each.backend else "not through the gateway")
        for each in system.recipients
    ]
    seen = [(row["backend"], row["region"], row["calls"], row["declared"]) for row in view.own_rows("recipients")]
    blocks: tuple[Block, ...] = (
        paragraph("(a) Controller and data protection officer"),
        view.contact(system.controller, "name and contact of the controller", "controller"),
        view.contact(system.data_protection_officer, "the data protection officer, if any", "data_protection_officer"),
        paragraph("(b) Purposes"),
        view.text(system.intended_purpose, "the purposes of processing", "intended_purpose"),
        view.text(system.lawful_basis, "the lawful basis (Article 6)", "lawful_basis"),
        paragraph("(c) Data subjects and categories of data"),
        view.listed(system.affected_groups, "categories of data subjects", "affected_groups"),
        view.listed(system.data_classes, "categories of personal data", "data_classes"),
        paragraph("(d) Recipients, declared and observed"),
        table(("Recipient", "Country", "Basis of transfer", "Backend"), recipients, "The register declares none."),
        table(("Backend seen", "Region", "Calls", "Declared"), seen, "No call reached a backend in the period."),
        paragraph("(e) Transfers to third countries"),
        view.shown("GDPR-44"),
        paragraph("(f) Time limits for erasure"),
        paragraph(f"Logs: {system.log_retention_days} days.")
        if system.log_retention_days
        else Missing("how long data are kept", "log_retention_days"),
        paragraph("(g) Technical and organisational measures"),
        view.shown("GDPR-32", "GDPR-5"),
    )
    return Section(view.called, blocks, "Article 30(1)")


def erasure_certificates(facts: Facts) -> Iterator[Document]:
    """Yield a certificate for each erasure of the period."""
    if "erasures" not in facts.data.populations:
        return
    for number, row in enumerate(facts.data.rows("erasures")):
        days = row["days"]
        yield Document(
            f"erasure-certificate-{number + 1}",
            f"Erasure {row['erasure']}",
            "Certifies what was rendered inaccessible, and what was not. Nothing here was made anonymous.",
            (
                Section(
                    "What was done",
                    (
                        table(
                            ("What", "Value"),
                            (
                                ("Cause", row["cause"]),
                                ("Asked by", row["principal"]),
                                ("Contents rendered inaccessible", row["contents"]),
                                ("Done", moment(row["erased_at"]) or "not on record"),
                                ("Days it took", days),
                                ("Record in the log", f"leaf {row['leaf']}, event {row['event_id']}"),
                            ),
                            "",
                        ),
                        paragraph(
                            "The keys, the salts of the commitments and the sealed contents were destroyed. The log "
                            "still holds its records: that calls took place, when, by whom, and keyed digests that "
                            "nobody can compare with anything any more."
                        )
                        if row["erased_at"] is not None
                        else Missing("why the erasure is not finished"),
                    ),
                    "Article 17 of Regulation (EU) 2016/679",
                ),
                Section(
                    "What it does not reach",
                    (
                        Missing("backups of the content store that are not expired, and when they expire"),
                        paragraph(
                            "Nor does it reach copies that somebody made of opened content, blocks of disks that were "
                            "moved elsewhere, or what the operator of a model kept."
                        ),
                    ),
                ),
                signature(),
            ),
        )
