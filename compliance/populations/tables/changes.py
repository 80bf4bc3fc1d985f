"""What was changed, and by whom: policies, configuration, keys, starts."""

from compliance.populations.base import Population
from compliance.populations.tables.columns import flag, number, text, texts

CHANGES = (
    Population(
        "policy_changes",
        "Policy activations",
        "Every revision of the policies that was put in force.",
        (
            text("revision", "Its name."),
            text("data_digest", "SHA-256 of its data."),
            text("bundle_digest", "SHA-256 of its bundle."),
            text("author", "Who wrote the change.", personal=True),
            texts("approvers", "Who approved it.", personal=True),
            flag("approver_is_other", "Somebody other than its author approved it."),
            text("commit", "The commit that was built."),
            flag("commit_signed", "The commit's signature was verified."),
            texts("checks", "Checks that passed."),
            flag("checks_passed", "There was at least one, and the pipeline says that all passed."),
            flag("rollback", "It went back to an earlier revision."),
            text("reason", "Why, for a rollback."),
            text("source", "Where the bundle came from."),
            text("activated_by", "Who put it in force.", personal=True),
            flag("failed", "It is not in force after all."),
        ),
        frozenset({"policy.activated", "policy.activation_failed"}),
    ),
    Population(
        "revisions",
        "Revisions in force",
        "Every stretch of time of the period in which one revision of the policies was in force.",
        (
            text("revision", "Its name."),
            text("data_digest", "SHA-256 of its data."),
            number("since", "Since when.", "time"),
            number("until", "Until when, as far as is known.", "time"),
            flag("held", "Its tables are kept, so that its grants and its register are known."),
        ),
        frozenset({"policy.activated", "gateway.started"}),
    ),
    Population(
        "policy_refusals",
        "Policies refused",
        "Every revision that was refused.",
        (
            text("principal", "Who tried.", personal=True),
            text("source", "Where from."),
            text("cause", "Why."),
        ),
        frozenset({"policy.refused"}),
    ),
    Population(
        "config_changes",
        "Changes of configuration",
        "Every time that a running gateway took its configuration anew, or refused to.",
        (
            text("principal", "Who asked for it.", personal=True),
            text("config_digest", "SHA-256 of the configuration; empty where it was refused."),
            flag("refused", "It was refused."),
            text("cause", "Why."),
        ),
        frozenset({"config.loaded", "config.refused"}),
    ),
    Population(
        "starts",
        "Starts and stops",
        "Every start and every end of a gateway.",
        (
            text("kind", "start or stop."),
            text("version", "Version that started."),
            number("workers", "Worker processes."),
            text("config_digest", "SHA-256 of the configuration."),
            text("policy_revision", "Revision that it started with."),
            number("exit_status", "Of a stop."),
        ),
        frozenset({"gateway.started", "gateway.stopped"}),
    ),
    Population(
        "unsafe_options",
        "Unsafe options",
        "Every option named unsafe that was in use at some time of the period, once for each start or reload "
        "that found it.",
        (
            text("option", "The option."),
            number("first_seen", "When the start or reload found it.", "time"),
            number("last_seen", "Until the next start, reload or end, as far as is known.", "time"),
        ),
        frozenset({"unsafe.option"}),
    ),
    Population(
        "admin_actions",
        "Actions on the control plane",
        "Every request to the control plane, allowed or refused.",
        (
            text("principal", "Who asked.", personal=True),
            text("action", "What for."),
            text("resource", "On what."),
            text("decision", "allow or deny."),
            texts("reasons", "Why."),
            text("policy_revision", "Revision that decided."),
            text("data_digest", "SHA-256 of its data."),
        ),
        frozenset({"admin.request"}),
    ),
    Population(
        "key_events",
        "Keys",
        "Every step in the life of a key of the trust domain or of the log.",
        (
            text("kind", "x509, jwt or checkpoint."),
            text("event", "What happened, the last part of the record's type."),
            text("key", "Which key."),
            text("cause", "Why."),
            number(
                "key_age_days",
                "Where a key takes over from another one: how long that one was in use, days; else none.",
            ),
        ),
        frozenset(
            {
                "authority.prepared",
                "authority.activated",
                "authority.tainted",
                "authority.revoked",
                "authority.expired",
                "authority.failed",
                "log.checkpoint_key_created",
                "log.checkpoint_key_rotated",
            }
        ),
    ),
)
