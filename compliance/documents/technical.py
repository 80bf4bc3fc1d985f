"""Technical documentation (AI Act, Annex IV), and the description of logging (Articles 12 and 19)."""

from compliance.documents.model import Block, Document, Missing, Section, paragraph, table
from compliance.documents.view import View, moment, signature


def technical_documentation(view: View) -> Document:
    """Return the nine headings of Annex IV, as far as register and log fill them."""
    system = view.system
    return Document(
        "annex-iv-technical-documentation",
        f"Technical documentation: {view.called}",
        "Laid out after Annex IV of Regulation (EU) 2024/1689. Filled in from the register of AI systems and the "
        "gateway's log; what neither knows is marked.",
        (
            Section(
                "1. General description",
                (
                    view.text(system.intended_purpose, "the intended purpose", "intended_purpose"),
                    view.contact(system.provider, "name and address of the provider", "provider"),
                    models(view),
                    view.text(
                        system.instructions_for_use, "the instructions for use for deployers", "instructions_for_use"
                    ),
                    Missing("how it interacts with hardware and software that are not part of it, and its interface"),
                ),
                "Annex IV(1)",
            ),
            Section(
                "2. Elements and development",
                (
                    _data_sets(view),
                    Missing("design choices, development steps, computing resources, and how it was validated"),
                    view.listed(system.oversight.measures, "measures of human oversight", "oversight.measures"),
                    paragraph(
                        "Cybersecurity at the gateway: every caller proves its identity by mutual TLS or a short-lived "
                        "token, every call is decided by policy, and every decision is in a signed log."
                    ),
                    view.shown("AIA-15"),
                ),
                "Annex IV(2)",
            ),
            Section(
                "3. Monitoring, functioning and control",
                (
                    _use(view),
                    Missing(
                        "accuracy for the groups of persons it is used on, foreseeable unintended outcomes, limits"
                    ),
                    view.listed(
                        system.oversight.overseers,
                        "who oversees it",
                        "oversight.overseers",
                    ),
                    view.shown("AIA-14"),
                ),
                "Annex IV(3)",
            ),
            Section("4. Performance metrics", (Missing("why these metrics fit this system"),), "Annex IV(4)"),
            Section(
                "5. Risk management",
                (view.document(system.risk_file, "the risk management file", "risk_file"), view.shown("AIA-9")),
                "Annex IV(5), Article 9",
            ),
            Section("6. Changes in its life", (_changes(view),), "Annex IV(6)"),
            Section(
                "7. Harmonised standards",
                (Missing("the standards and specifications applied, or how the requirements are met without"),),
                "Annex IV(7)",
            ),
            Section(
                "8. Declaration of conformity",
                (paragraph("See annex-v-declaration-of-conformity in this package; it has to be signed."),),
                "Annex IV(8), Annex V",
            ),
            Section(
                "9. Monitoring after placing on the market",
                (view.document(system.monitoring_plan, "the monitoring plan", "monitoring_plan"),),
                "Annex IV(9), Article 72(3)",
            ),
            signature(),
        ),
    )


def logging_description(view: View) -> Document:
    """Return what is logged, how, and for how long."""
    facts = view.facts
    retention = [row for row in view.rows("retention") if row["kind"] == "state"]
    oldest = moment(retention[-1]["oldest"]) if retention else ""
    return Document(
        "article-12-and-19-logging",
        f"Logging: {view.called}",
        "Describes the automatic recording of events after Articles 12 and 19 of Regulation (EU) 2024/1689. That the "
        "log shows changes goes beyond what Article 12 asks.",
        (
            Section(
                "What is recorded",
                (
                    paragraph(
                        "Of each call: who made it, on whose behalf, to which model and version, the decision with its "
                        "reasons and the digest of the policies that made it, the beginning and the end, how it ended, "
                        "the tokens, and keyed digests of question and answer. Beyond calls: every change of policies, "
                        "configuration, identities, grants and keys, every act of human oversight, every incident."
                    ),
                    table(
                        ("Figure", "In the period"),
                        (
                            ("Calls", view.calls()),
                            ("of these allowed", view.calls("decision = 'allow'")),
                            ("of these refused", view.calls("decision <> 'allow'")),
                            ("without a recorded end", view.calls("closed = 0")),
                        ),
                        "",
                    ),
                    view.shown("AIA-12.1", "AIA-12.3"),
                ),
                "Article 12(1) and (2)",
            ),
            Section(
                "Content of calls",
                (
                    paragraph(
                        "The log holds no content, only keyed digests. Where the policies ask for it, content is "
                        "sealed beside the log under keys of each person concerned, which can be destroyed."
                    ),
                    paragraph(f"This system seals content: {'yes' if _seals(view) else 'no'}."),
                ),
            ),
            Section(
                "Integrity",
                (
                    paragraph(
                        f"Records are chained by SHA-256 and covered by signed tree heads of {facts.origin}; a "
                        "changed, removed or reordered record is found by anybody who has the log's public key."
                    ),
                    table(
                        ("Key", "Use", "Fingerprint"),
                        [(each.name, each.use, each.fingerprint) for each in facts.keys],
                        "The public keys are in the package.",
                    ),
                ),
            ),
            Section(
                "How long",
                (
                    paragraph(f"Oldest record at the end of the period: {oldest}.")
                    if oldest
                    else Missing("the oldest record that is kept: the log did not say it in this period"),
                    paragraph(f"The register asks for {view.system.log_retention_days} days.")
                    if view.system.log_retention_days
                    else paragraph("The register names no longer time than the law: at least six months."),
                    view.shown("AIA-19"),
                ),
                "Articles 19(1) and 26(6)",
            ),
            Section("Who can read it", (Missing("who is allowed to read the log, and who allows it"),)),
            Section("Figures", (paragraph(view.period()),)),
        ),
    )


def models(view: View) -> Block:
    """Return the models of the register with their versions, and how often each answered."""

    seen = {str(row["model"]): row["calls"] for row in view.own_rows("models")}
    rows = [
        (name, model.version, model.provider, model.digest, seen.get(name, 0))
        for name, model in sorted(view.system.models.items())
    ]
    if not rows:
        return Missing("its models with version, provider and digest", "models")
    return table(("Model", "Version", "Provider", "Digest of its weights", "Calls in the period"), rows, "")


def _data_sets(view: View) -> Block:
    rows = [
        (each.name, each.use, each.origin, each.special_categories, each.reference) for each in view.system.data_sets
    ]
    if not rows:
        return Missing("data sets for training, validation, testing and retrieval, with their origin", "data_sets")
    return table(("Data set", "Use", "Origin", "Special categories", "Reference"), rows, "")


def _use(view: View) -> Block:
    return table(
        ("Figure", "In the period"),
        (
            ("Calls", view.calls()),
            ("refused by policy or for want of identity", view.calls("decision <> 'allow'")),
            ("answered with an error", view.calls("decision = 'allow' AND result <> 'completed'")),
        ),
        "",
    )


def _changes(view: View) -> Block:
    rows = [
        (
            moment(int(each["activated_at"]) * 1_000_000_000),
            each.get("revision", ""),
            str(each.get("bundle_digest", ""))[:16],
            each.get("rollback", False),
        )
        for each in view.facts.policies
    ]
    return table(
        ("Policies in force since", "Revision", "Digest (first characters)", "Went back"),
        rows,
        "No revision of the policies was in force in the period, as far as the gateway still knows.",
    )


def _seals(view: View) -> bool:
    return bool((view.system.model_extra or {}).get("seal_content"))
