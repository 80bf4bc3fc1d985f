"""How the gateway ran: credentials, hops, counts, days and gaps."""

from compliance.populations.base import Population
from compliance.populations.tables.columns import flag, number, text, texts

RUNNING = (
    Population(
        "secrets",
        "Credentials",
        "Every credential that the configuration refers to, once for each day that it was looked at.",
        (
            text("purpose", "What it is for."),
            text("reference", "Where it comes from."),
            text("kind", "static or dynamic."),
            flag("readable", "It could be read."),
            number("age_days", "How long it has been the same, days."),
            number("max_age_days", "How old it may become, days; 0: no bound."),
            flag("rotated_in_time", "It could be read and is not older than that."),
        ),
        frozenset({"secret.inventory"}),
    ),
    Population(
        "hops",
        "Hops",
        "Every way in and out of a gateway, once for each day that it was described.",
        (
            text("hop", "Its name."),
            text("carries", "What goes there."),
            text("address", "Where it leads."),
            text("reach", "network, loopback or unix."),
            flag("encrypted", "By TLS."),
            flag("mutual", "Both ends prove themselves."),
            text("tls_minimum", "Lowest version of TLS."),
            flag("tls_modern", "That is 1.2 or later."),
            flag("protected", "It is encrypted, does not leave the machine, or carries digests or metrics alone."),
        ),
        frozenset({"gateway.hops"}),
    ),
    Population(
        "counts",
        "Independent counts",
        "Every window that the listener, the policy engine and the upstream client counted by themselves.",
        (
            number("since", "Begin of the window.", "time"),
            number("until", "Its end.", "time"),
            number("connections_accepted", "Handshakes that ended with a proven identity."),
            number("handshakes_refused", "Handshakes that did not."),
            number("requests", "Calls answered, refused ones among them."),
            number("in_flight", "Calls under way at its end."),
            number("decisions", "Decisions of the policies."),
            number("allowed", "Those of them that allowed."),
            number("denied", "Those of them that denied."),
            number("backend_requests", "Answers of backends."),
            number("input_tokens", "Tokens in."),
            number("output_tokens", "Tokens out."),
            number("recorded", "Calls on record that the policies decided, since the gateway started."),
            number("counted", "Decisions counted since then."),
            flag("reconciled", "The two agree, but for calls of the seconds around the end of the window."),
        ),
        frozenset({"gateway.counts"}),
    ),
    Population(
        "coverage",
        "Days",
        "Every day of the period, and whether the log covers it.",
        (
            number("records", "Records of the day."),
            number("calls", "Calls of the day."),
            number("first", "Time of its first record.", "time"),
            number("last", "Time of its last record.", "time"),
            number("running_seconds", "How long a gateway ran, by its starts, ends and records, seconds."),
            number("silent_seconds", "How long nothing shows that one ran, and no end in order says why."),
            number("gaps", "Gaps that begin on it."),
            flag(
                "covered",
                "A gateway ran and wrote records; where there are none for more than two hours, it had ended "
                "in order. Of the days on which the log begins and ends, the part that the log is of.",
            ),
            flag("whole", "The log goes on beyond the end of the day."),
            text("why", "Why it is not covered."),
        ),
        frozenset(),
        daily=True,
    ),
    Population(
        "gaps",
        "Gaps",
        "Everything in the log that is not continuous: a gateway that ended without a word or did not run, "
        "workers that ended, a store that failed, a clock that went back, calls without an outcome, outcomes "
        "without a call, and hours in which nothing shows that a gateway ran.",
        (
            text(
                "kind",
                "downtime, ended, worker, store, broken, clock, silence, open-call or outcome-alone.",
            ),
            number("since", "Its begin.", "time"),
            number("until", "Its end; none where it has none yet.", "time"),
            flag("explained", "The cause is on record."),
            text("cause", "The cause."),
        ),
        frozenset(
            {
                "gateway.started",
                "gateway.stopped",
                "worker.exited",
                "log.recovered",
                "log.broken",
                "clock.stepped",
                "access.intent",
                "access.outcome",
            }
        ),
    ),
    Population(
        "record_types",
        "Types of records",
        "Every type of record that the log has in the period, also those that this version does not know.",
        (
            text("type", "The type."),
            number("records", "How many."),
            number("unwritable", "Those of them that could not be written whole, and say so."),
            number("first_leaf", "Index of the first of them in the tree."),
            number("last_leaf", "Index of the last of them."),
            flag("known", "This version has a definition of it."),
            texts("populations", "The populations that are made from it; none: it is counted here alone."),
        ),
        frozenset(),
    ),
)
