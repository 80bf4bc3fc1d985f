"""Who may act: identities, grants, reviews and what was taken back."""

from compliance.populations.base import Population
from compliance.populations.tables.columns import flag, number, text

ACCESS = (
    Population(
        "issuances",
        "Identities issued",
        "Every SVID that was handed out.",
        (
            text("agent", "Whose identity it is.", personal=True),
            text("svid", "x509-svid or jwt-svid."),
            text("serial", "Serial number, or jti."),
            number("lifetime_seconds", "From the record to its end, seconds."),
            text("authority", "Which authority signed it."),
            text("entry", "Registration entry that grants it."),
            number("selectors", "How many selectors were attested."),
        ),
        frozenset({"identity.issued"}),
    ),
    Population(
        "identities",
        "Identities",
        "Every identity of the inventory that was there at some time of the period.",
        (
            text("agent", "The identity.", personal=True),
            text("kind", "agent, service, pipeline or human."),
            text("owner", "Who answers for it.", personal=True),
            text("team", "Its team."),
            text("risk_tier", "Its risk tier."),
            number("registered_at", "When it was registered; none where that is before the log.", "time"),
            text("status_at_end", "Its state at the end of the period."),
            flag("owner_present", "It has an owner."),
            number("last_review_at", "When somebody last decided on it in a review.", "time"),
            number("days_without_review", "Most days in the period since it was registered or reviewed."),
            flag("reviewed_in_time", "That were at most 90 days, or it was retired."),
        ),
        frozenset(
            {
                "agent.registered",
                "agent.updated",
                "agent.status_changed",
                "review.decided",
                "identity.inventory",
            }
        ),
    ),
    Population(
        "status_changes",
        "Changes of state",
        "Every move of an identity from one state to another.",
        (
            text("agent", "The identity.", personal=True),
            text("status", "Its new state."),
            text("cause", "Why."),
            text("principal", "Who did it.", personal=True),
        ),
        frozenset({"agent.status_changed"}),
    ),
    Population(
        "revocations",
        "Revocations",
        "Everything that was revoked in the period, or before and still at its beginning, and identities that "
        "were suspended, quarantined or retired. Calls are those of the period.",
        (
            text("kind", "id, entry, serial, authority, node, or status."),
            text("subject", "What was revoked.", personal=True),
            text("cause", "Why."),
            text("principal", "Who did it.", personal=True),
            number("lifted_at", "When it was lifted; none while it holds.", "time"),
            number("accepted_after", "Calls of it that were allowed while it was revoked."),
            number("seconds_to_last_accepted_call", "From the revocation to the last of them; 0 for none."),
        ),
        frozenset({"identity.revoked", "identity.revocation_lifted", "agent.status_changed"}),
    ),
    Population(
        "grants",
        "Grants",
        "Every binding of a role to a subject in the policies that were in force at some time of the period, "
        "once for each time without a break. Complete for revisions whose tables are held (revisions).",
        (
            text("subject", "Who has the role.", personal=True),
            text("role", "The role."),
            number("first_in_force", "Since when a revision with it was in force.", "time"),
            number("last_in_force", "Until when.", "time"),
            text("not_before", "From when it holds."),
            text("not_after", "Until when."),
            text("approved_by", "Who approved it.", personal=True),
            text("reason", "Why."),
            flag("break_glass", "It is an emergency."),
            flag("standing", "It has no end."),
            flag("self_approved", "Its approver is its subject."),
            flag("expired", "It was still in the policies after its end, where it gives nothing any more."),
        ),
        frozenset({"policy.activated", "gateway.started"}),
    ),
    Population(
        "reviews",
        "Access reviews",
        "Every access review that was open at some time of the period.",
        (
            text("review", "Its name."),
            number("deadline", "When it had to be closed.", "time"),
            number("closed_at", "When it was closed; none while it is open.", "time"),
            number("identities", "How many identities it was about."),
            number("undecided", "How many were left undecided."),
            flag("late", "It was closed late, or is open beyond its deadline, or something was left undecided."),
        ),
        frozenset({"review.started", "review.closed"}),
    ),
)
