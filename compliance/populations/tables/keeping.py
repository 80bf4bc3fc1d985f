"""What is kept, erased, opened, and how people oversee."""

from compliance.populations.base import Population
from compliance.populations.tables.columns import flag, number, text, texts

KEEPING = (
    Population(
        "retention",
        "Retention",
        "Every segment that was deleted, and how far the log goes back.",
        (
            text("kind", "deletion or state."),
            number("records", "How many records were deleted: of the segment; of a state, of the whole log."),
            number("oldest", "Since when the log is complete: no chain lacks a later record.", "time"),
            flag("kept_long_enough", "No record of a call was younger than six months when it was deleted."),
            flag("oldest_old_enough", "That is as long ago as the shorter of six months and the log's life."),
        ),
        frozenset({"log.segment_deleted"}),
    ),
    Population(
        "holds",
        "Legal holds",
        "Every legal hold that was set or lifted.",
        (
            text("event", "set or lifted."),
            text("hold", "Its id."),
            text("principal", "Who did it.", personal=True),
            text("cause", "Why."),
        ),
        frozenset({"log.legal_hold_set", "log.legal_hold_lifted"}),
    ),
    Population(
        "erasures",
        "Erasures",
        "Every erasure that was begun in the period, or not done before it.",
        (
            text("erasure", "Its id."),
            text("principal", "Who did it.", personal=True),
            text("cause", "Why."),
            number("contents", "Items that cannot be opened any more."),
            number("erased_at", "When the keys were destroyed; none while they are not.", "time"),
            number("days", "From its begin to that, days."),
            flag("in_time", "That were at most 30 days."),
        ),
        frozenset({"content.erasing", "content.erased"}),
    ),
    Population(
        "content_access",
        "Sealed content opened",
        "Every time that somebody opened sealed content or searched for it.",
        (
            text("event", "opened or searched."),
            text("principal", "Who.", personal=True),
            text("reason", "Why."),
            texts("approved_by", "Who approved it.", personal=True),
            flag("two_people", "Somebody else approved it."),
        ),
        frozenset({"content.opened", "content.searched"}),
    ),
    Population(
        "incidents",
        "Incidents",
        "Every incident that was open at some time of the period.",
        (
            text("incident", "Its id."),
            text("title", "What it is."),
            texts("classes", "What kind of incident it is."),
            number("aware_at", "When somebody became aware of it.", "time"),
            number("deadline", "The first deadline of a report; none where none is due.", "time"),
            number("reported_at", "When the first report was made.", "time"),
            number("closed_at", "When it was closed; none while it is open.", "time"),
            flag("assessed", "It was assessed."),
            flag("must_report", "An authority has to be told."),
            flag("personal_data_breach", "It is a breach of personal data."),
            flag("reported_in_time", "Every report that is due was made in time, or is not due yet."),
            flag("closed", "It is closed."),
            text("hold", "Id of the legal hold on its evidence."),
        ),
        frozenset({"incident.opened", "incident.assessed", "incident.reported", "incident.closed"}),
        per_system=True,
    ),
    Population(
        "oversight",
        "Human oversight",
        "Everything that people decided about single calls and whole systems; and each time that "
        "somebody stopped a system in the 90 days before the end of the period.",
        (
            text("kind", "request, approval, refusal, use, override, stop, resume or drill."),
            text("approval", "Id of the approval."),
            text("principal", "Who.", personal=True),
            text("agent", "Whose call.", personal=True),
            text("reason", "Why."),
            number("seconds", "From the request to it, or how long a system was stopped."),
            number("days_before_end", "Days from it to the end of the period."),
        ),
        frozenset(
            {
                "oversight.requested",
                "oversight.approved",
                "oversight.refused",
                "oversight.used",
                "oversight.overridden",
                "oversight.stopped",
                "oversight.resumed",
                "oversight.drilled",
            }
        ),
        per_system=True,
    ),
    Population(
        "evidence_exports",
        "Evidence exported",
        "Every package of evidence that was made, and every export that was refused.",
        (
            text("event", "exported or refused."),
            text("principal", "Who.", personal=True),
            flag("real_names", "With names of people instead of pseudonyms."),
            text("package_sha256", "SHA-256 of its manifest."),
        ),
        frozenset({"evidence.exported", "evidence.refused"}),
    ),
)
