"""Every population: what its rows are and what its columns mean. The data dictionary of a package is made of this."""

from collections.abc import Mapping
from types import MappingProxyType

from compliance.populations.base import Column, Kind, Population


def _text(name: str, says: str, *, personal: bool = False) -> Column:
    return Column(name, "text", says, personal)


def _flag(name: str, says: str) -> Column:
    return Column(name, "boolean", says)


def _number(name: str, says: str, kind: Kind = "integer") -> Column:
    return Column(name, kind, says)


def _list(name: str, says: str, *, personal: bool = False) -> Column:
    return Column(name, "list", says, personal)


CALLS = Population(
    "calls",
    "Calls",
    "Every call that a proven identity made, by the day it was decided: allowed, refused by policy or by a limit. "
    "Complete but for refusals that a flood kept from the record one by one; their number is in suppressed_denials.",
    (
        _number(
            "outcome_leaf", "Leaf of the record that closes the call; none while it is open, -1 where none is due."
        ),
        _text("principal", "Who called.", personal=True),
        _list("delegation", "For whom, the first in the chain first.", personal=True),
        _text("team", "Team of the caller."),
        _text("action", "What was done, as in model.infer."),
        _text("operation", "The protocol's own name of the route."),
        _text("model", "The model that was named."),
        _text("upstream_model", "Its name at the backend."),
        _text("protocol", "Wire protocol of the request."),
        _text("decision", "allow or deny."),
        _list("reasons", "Stable codes that say why."),
        _text("problem", "Last part of the problem type of a refusal."),
        _text("policy_revision", "Revision of the policies that decided; empty where none was asked."),
        _text("data_digest", "SHA-256 of its data."),
        _text("result", "completed, failed, cut or client-disconnected; empty without an outcome."),
        _text("cause", "Code of the failure or of the cut."),
        _number("status", "HTTP status that was answered; 0 where nothing was."),
        _text("identity", "What proved the caller: x509-svid, jwt-svid, or empty."),
        _text("credential", "Serial number of the certificate, or jti of the token."),
        _number("credential_expires_in_seconds", "From the call to the end of the credential, seconds."),
        _number("credential_lifetime_seconds", "Its whole life, seconds; none where it was issued by others."),
        _text("agent_status", "State of the caller in the inventory."),
        _text("agent_risk", "Its risk tier."),
        _text("system_risk", "Risk class of the system that counts, by the register."),
        _text("region", "Region of the backend, or of the model's backends."),
        _text("gateway_region", "Region of the gateway."),
        _list("data_classes", "Classes of data of the system."),
        _list("obligations", "What the policies asked for."),
        _number("input_tokens", "Tokens in."),
        _number("output_tokens", "Tokens out."),
        _number("duration_ms", "From the record of the decision to that of the outcome, milliseconds."),
        _text("backend", "The backend that answered."),
        _flag("overseen", "The register that was in force names an overseer."),
        _flag("in_register", "The register that was in force has the system."),
        _flag("model_listed", "It lists the model for the system."),
        _flag("region_allowed", "The region is one that it allows for the system; all, if it names none."),
        _flag("purpose_listed", "The action is one that it names for the system; all, if it names none."),
        _flag("closed", "It has its outcome on record, or the reason why it has none."),
        _flag("request_digest", "The keyed digest of the request is on record."),
        _flag("response_digest", "The keyed digest of the answer is on record."),
        _flag("approval_required", "The policies asked for the approval of a person."),
        _text("approval", "Id of the approval; empty for none."),
        _flag("break_glass", "An emergency role allowed it."),
        _flag("policy_input", "What the policies decided on is on record, so that it can be decided again."),
    ),
    frozenset({"access.intent", "access.outcome", "access.denied", "quota.exceeded"}),
    per_system=True,
)

POPULATIONS: Mapping[str, Population] = MappingProxyType(
    {
        each.name: each
        for each in (
            CALLS,
            Population(
                "suppressed_denials",
                "Refusals counted together",
                "Refusals of one identity beyond those put on record one by one.",
                (_text("principal", "Who was refused.", personal=True), _number("count", "How often.")),
                frozenset({"access.denials_suppressed", "admin.denials_suppressed"}),
            ),
            Population(
                "issuances",
                "Identities issued",
                "Every SVID that was handed out.",
                (
                    _text("agent", "Whose identity it is.", personal=True),
                    _text("svid", "x509-svid or jwt-svid."),
                    _text("serial", "Serial number, or jti."),
                    _number("lifetime_seconds", "From the record to its end, seconds."),
                    _text("authority", "Which authority signed it."),
                    _text("entry", "Registration entry that grants it."),
                    _number("selectors", "How many selectors were attested."),
                ),
                frozenset({"identity.issued"}),
            ),
            Population(
                "identities",
                "Identities",
                "Every identity of the inventory that was there at some time of the period.",
                (
                    _text("agent", "The identity.", personal=True),
                    _text("kind", "agent, service, pipeline or human."),
                    _text("owner", "Who answers for it.", personal=True),
                    _text("team", "Its team."),
                    _text("risk_tier", "Its risk tier."),
                    _number("registered_at", "When it was registered; none where that is before the log.", "time"),
                    _text("status_at_end", "Its state at the end of the period."),
                    _flag("owner_present", "It has an owner."),
                    _number("last_review_at", "When somebody last decided on it in a review.", "time"),
                    _number("days_without_review", "Most days in the period since it was registered or reviewed."),
                    _flag("reviewed_in_time", "That were at most 90 days, or it was retired."),
                ),
                frozenset({"agent.registered", "agent.updated", "agent.status_changed", "review.decided"}),
            ),
            Population(
                "status_changes",
                "Changes of state",
                "Every move of an identity from one state to another.",
                (
                    _text("agent", "The identity.", personal=True),
                    _text("status", "Its new state."),
                    _text("cause", "Why."),
                    _text("principal", "Who did it.", personal=True),
                ),
                frozenset({"agent.status_changed"}),
            ),
            Population(
                "revocations",
                "Revocations",
                "Everything that was revoked in the period, or before and still at its beginning, and identities that "
                "were suspended, quarantined or retired. Calls are those of the period.",
                (
                    _text("kind", "id, entry, serial, authority, node, or status."),
                    _text("subject", "What was revoked.", personal=True),
                    _text("cause", "Why."),
                    _text("principal", "Who did it.", personal=True),
                    _number("lifted_at", "When it was lifted; none while it holds.", "time"),
                    _number("accepted_after", "Calls of it that were allowed while it was revoked."),
                    _number("seconds_to_last_accepted_call", "From the revocation to the last of them; 0 for none."),
                ),
                frozenset({"identity.revoked", "identity.revocation_lifted", "agent.status_changed"}),
            ),
            Population(
                "grants",
                "Grants",
                "Every binding of a role to a subject in the policies that were in force at some time of the period, "
                "once for each time without a break. Complete for revisions whose tables are held (revisions).",
                (
                    _text("subject", "Who has the role.", personal=True),
                    _text("role", "The role."),
                    _number("first_in_force", "Since when a revision with it was in force.", "time"),
                    _number("last_in_force", "Until when.", "time"),
                    _text("not_before", "From when it holds."),
                    _text("not_after", "Until when."),
                    _text("approved_by", "Who approved it.", personal=True),
                    _text("reason", "Why."),
                    _flag("break_glass", "It is an emergency."),
                    _flag("standing", "It has no end."),
                    _flag("self_approved", "Its approver is its subject."),
                    _flag("expired", "It was still in the policies after its end, where it gives nothing any more."),
                ),
                frozenset({"policy.activated", "gateway.started"}),
            ),
            Population(
                "reviews",
                "Access reviews",
                "Every access review that was open at some time of the period.",
                (
                    _text("review", "Its name."),
                    _number("deadline", "When it had to be closed.", "time"),
                    _number("closed_at", "When it was closed; none while it is open.", "time"),
                    _number("identities", "How many identities it was about."),
                    _number("undecided", "How many were left undecided."),
                    _flag(
                        "late", "It was closed late, or is open beyond its deadline, or something was left undecided."
                    ),
                ),
                frozenset({"review.started", "review.closed"}),
            ),
            Population(
                "policy_changes",
                "Policy activations",
                "Every revision of the policies that was put in force.",
                (
                    _text("revision", "Its name."),
                    _text("data_digest", "SHA-256 of its data."),
                    _text("bundle_digest", "SHA-256 of its bundle."),
                    _text("author", "Who wrote the change.", personal=True),
                    _list("approvers", "Who approved it.", personal=True),
                    _flag("approver_is_other", "Somebody other than its author approved it."),
                    _text("commit", "The commit that was built."),
                    _flag("commit_signed", "The commit's signature was verified."),
                    _list("checks", "Checks that passed."),
                    _flag("checks_passed", "There was at least one, and the pipeline says that all passed."),
                    _flag("rollback", "It went back to an earlier revision."),
                    _text("reason", "Why, for a rollback."),
                    _text("source", "Where the bundle came from."),
                    _text("activated_by", "Who put it in force.", personal=True),
                    _flag("failed", "It is not in force after all."),
                ),
                frozenset({"policy.activated", "policy.activation_failed"}),
            ),
            Population(
                "revisions",
                "Revisions in force",
                "Every stretch of time of the period in which one revision of the policies was in force.",
                (
                    _text("revision", "Its name."),
                    _text("data_digest", "SHA-256 of its data."),
                    _number("since", "Since when.", "time"),
                    _number("until", "Until when, as far as is known.", "time"),
                    _flag("held", "Its tables are kept, so that its grants and its register are known."),
                ),
                frozenset({"policy.activated", "gateway.started"}),
            ),
            Population(
                "policy_refusals",
                "Policies refused",
                "Every revision that was refused.",
                (
                    _text("principal", "Who tried.", personal=True),
                    _text("source", "Where from."),
                    _text("cause", "Why."),
                ),
                frozenset({"policy.refused"}),
            ),
            Population(
                "config_changes",
                "Changes of configuration",
                "Every time that a running gateway took its configuration anew, or refused to.",
                (
                    _text("principal", "Who asked for it.", personal=True),
                    _text("config_digest", "SHA-256 of the configuration; empty where it was refused."),
                    _flag("refused", "It was refused."),
                    _text("cause", "Why."),
                ),
                frozenset({"config.loaded", "config.refused"}),
            ),
            Population(
                "starts",
                "Starts and stops",
                "Every start and every end of a gateway.",
                (
                    _text("kind", "start or stop."),
                    _text("version", "Version that started."),
                    _number("workers", "Worker processes."),
                    _text("config_digest", "SHA-256 of the configuration."),
                    _text("policy_revision", "Revision that it started with."),
                    _number("exit_status", "Of a stop."),
                ),
                frozenset({"gateway.started", "gateway.stopped"}),
            ),
            Population(
                "unsafe_options",
                "Unsafe options",
                "Every option named unsafe that was in use at some time of the period, once for each start or reload "
                "that found it.",
                (
                    _text("option", "The option."),
                    _number("first_seen", "When the start or reload found it.", "time"),
                    _number("last_seen", "Until the next start, reload or end, as far as is known.", "time"),
                ),
                frozenset({"unsafe.option"}),
            ),
            Population(
                "admin_actions",
                "Actions on the control plane",
                "Every request to the control plane, allowed or refused.",
                (
                    _text("principal", "Who asked.", personal=True),
                    _text("action", "What for."),
                    _text("resource", "On what."),
                    _text("decision", "allow or deny."),
                    _list("reasons", "Why."),
                    _text("policy_revision", "Revision that decided."),
                    _text("data_digest", "SHA-256 of its data."),
                ),
                frozenset({"admin.request"}),
            ),
            Population(
                "key_events",
                "Keys",
                "Every step in the life of a key of the trust domain or of the log.",
                (
                    _text("kind", "x509, jwt or checkpoint."),
                    _text("event", "What happened, the last part of the record's type."),
                    _text("key", "Which key."),
                    _text("cause", "Why."),
                    _number(
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
            Population(
                "secrets",
                "Credentials",
                "Every credential that the configuration refers to, once for each day that it was looked at.",
                (
                    _text("purpose", "What it is for."),
                    _text("reference", "Where it comes from."),
                    _text("kind", "static or dynamic."),
                    _flag("readable", "It could be read."),
                    _number("age_days", "How long it has been the same, days."),
                    _number("max_age_days", "How old it may become, days; 0: no bound."),
                    _flag("rotated_in_time", "It could be read and is not older than that."),
                ),
                frozenset({"secret.inventory"}),
            ),
            Population(
                "hops",
                "Hops",
                "Every way in and out of a gateway, once for each day that it was described.",
                (
                    _text("hop", "Its name."),
                    _text("carries", "What goes there."),
                    _text("address", "Where it leads."),
                    _text("reach", "network, loopback or unix."),
                    _flag("encrypted", "By TLS."),
                    _flag("mutual", "Both ends prove themselves."),
                    _text("tls_minimum", "Lowest version of TLS."),
                    _flag("tls_modern", "That is 1.2 or later."),
                    _flag(
                        "protected", "It is encrypted, does not leave the machine, or carries digests or metrics alone."
                    ),
                ),
                frozenset({"gateway.hops"}),
            ),
            Population(
                "counts",
                "Independent counts",
                "Every window that the listener, the policy engine and the upstream client counted by themselves.",
                (
                    _number("since", "Begin of the window.", "time"),
                    _number("until", "Its end.", "time"),
                    _number("connections_accepted", "Handshakes that ended with a proven identity."),
                    _number("handshakes_refused", "Handshakes that did not."),
                    _number("requests", "Calls answered, refused ones among them."),
                    _number("in_flight", "Calls under way at its end."),
                    _number("decisions", "Decisions of the policies."),
                    _number("allowed", "Those of them that allowed."),
                    _number("denied", "Those of them that denied."),
                    _number("backend_requests", "Answers of backends."),
                    _number("input_tokens", "Tokens in."),
                    _number("output_tokens", "Tokens out."),
                    _number("recorded", "Calls on record that the policies decided, since the gateway started."),
                    _number("counted", "Decisions counted since then."),
                    _flag("reconciled", "The two agree, but for calls of the seconds around the end of the window."),
                ),
                frozenset({"gateway.counts"}),
            ),
            Population(
                "coverage",
                "Days",
                "Every day of the period, and whether the log covers it.",
                (
                    _number("records", "Records of the day."),
                    _number("calls", "Calls of the day."),
                    _number("first", "Time of its first record.", "time"),
                    _number("last", "Time of its last record.", "time"),
                    _number("running_seconds", "How long a gateway ran, by its starts, ends and records, seconds."),
                    _number("silent_seconds", "How long nothing shows that one ran, and no end in order says why."),
                    _number("gaps", "Gaps that begin on it."),
                    _flag(
                        "covered",
                        "A gateway ran and wrote records; where there are none for more than two hours, it had ended "
                        "in order. Of the days on which the log begins and ends, the part that the log is of.",
                    ),
                    _flag("whole", "The log goes on beyond the end of the day."),
                    _text("why", "Why it is not covered."),
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
                    _text(
                        "kind",
                        "downtime, ended, worker, store, broken, clock, silence, open-call or outcome-alone.",
                    ),
                    _number("since", "Its begin.", "time"),
                    _number("until", "Its end; none where it has none yet.", "time"),
                    _flag("explained", "The cause is on record."),
                    _text("cause", "The cause."),
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
                    _text("type", "The type."),
                    _number("records", "How many."),
                    _number("unwritable", "Those of them that could not be written whole, and say so."),
                    _number("first_leaf", "Index of the first of them in the tree."),
                    _number("last_leaf", "Index of the last of them."),
                    _flag("known", "This version has a definition of it."),
                    _list("populations", "The populations that are made from it; none: it is counted here alone."),
                ),
                frozenset(),
            ),
            Population(
                "retention",
                "Retention",
                "Every segment that was deleted, and how far the log goes back.",
                (
                    _text("kind", "deletion or state."),
                    _number("records", "How many records were deleted: of the segment; of a state, of the whole log."),
                    _number("oldest", "Since when the log is complete: no chain lacks a later record.", "time"),
                    _flag("kept_long_enough", "No record of a call was younger than six months when it was deleted."),
                    _flag("oldest_old_enough", "That is as long ago as the shorter of six months and the log's life."),
                ),
                frozenset({"log.segment_deleted"}),
            ),
            Population(
                "holds",
                "Legal holds",
                "Every legal hold that was set or lifted.",
                (
                    _text("event", "set or lifted."),
                    _text("hold", "Its id."),
                    _text("principal", "Who did it.", personal=True),
                    _text("cause", "Why."),
                ),
                frozenset({"log.legal_hold_set", "log.legal_hold_lifted"}),
            ),
            Population(
                "erasures",
                "Erasures",
                "Every erasure that was begun in the period, or not done before it.",
                (
                    _text("erasure", "Its id."),
                    _text("principal", "Who did it.", personal=True),
                    _text("cause", "Why."),
                    _number("contents", "Items that cannot be opened any more."),
                    _number("erased_at", "When the keys were destroyed; none while they are not.", "time"),
                    _number("days", "From its begin to that, days."),
                    _flag("in_time", "That were at most 30 days."),
                ),
                frozenset({"content.erasing", "content.erased"}),
            ),
            Population(
                "content_access",
                "Sealed content opened",
                "Every time that somebody opened sealed content or searched for it.",
                (
                    _text("event", "opened or searched."),
                    _text("principal", "Who.", personal=True),
                    _text("reason", "Why."),
                    _list("approved_by", "Who approved it.", personal=True),
                    _flag("two_people", "Somebody else approved it."),
                ),
                frozenset({"content.opened", "content.searched"}),
            ),
            Population(
                "incidents",
                "Incidents",
                "Every incident that was open at some time of the period.",
                (
                    _text("incident", "Its id."),
                    _text("title", "What it is."),
                    _list("classes", "What kind of incident it is."),
                    _number("aware_at", "When somebody became aware of it.", "time"),
                    _number("deadline", "The first deadline of a report; none where none is due.", "time"),
                    _number("reported_at", "When the first report was made.", "time"),
                    _number("closed_at", "When it was closed; none while it is open.", "time"),
                    _flag("assessed", "It was assessed."),
                    _flag("must_report", "An authority has to be told."),
                    _flag("personal_data_breach", "It is a breach of personal data."),
                    _flag("reported_in_time", "Every report that is due was made in time, or is not due yet."),
                    _flag("closed", "It is closed."),
                    _text("hold", "Id of the legal hold on its evidence."),
                ),
                frozenset({"incident.opened", "incident.assessed", "incident.reported", "incident.closed"}),
                per_system=True,
            ),
            Population(
                "oversight",
                "Human oversight",
                "Everything that people decided about single calls and whole systems.",
                (
                    _text("kind", "request, approval, refusal, use, override, stop, resume or drill."),
                    _text("approval", "Id of the approval."),
                    _text("principal", "Who.", personal=True),
                    _text("agent", "Whose call.", personal=True),
                    _text("reason", "Why."),
                    _number("seconds", "From the request to it, or how long a system was stopped."),
                    _number("days_before_end", "Days from it to the end of the period."),
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
                    _text("event", "exported or refused."),
                    _text("principal", "Who.", personal=True),
                    _flag("real_names", "With names of people instead of pseudonyms."),
                    _text("package_sha256", "SHA-256 of its manifest."),
                ),
                frozenset({"evidence.exported", "evidence.refused"}),
            ),
            Population(
                "overseers",
                "Overseers",
                "Every overseer that the register names, on every day of the period.",
                (
                    _text("person", "Who.", personal=True),
                    _text("training_reference", "The training on record; empty for none."),
                    _text("valid_until", "Until when it holds."),
                    _flag("training_valid", "A training on record held on that day."),
                ),
                frozenset(),
                per_system=True,
            ),
            Population(
                "models",
                "Models in use",
                "Every model that allowed calls went to.",
                (
                    _text("model", "Its name."),
                    _text("upstream_model", "Its name at the backend."),
                    _number("calls", "Allowed calls."),
                    _flag("listed", "The register lists it for the system."),
                    _flag("documented", "The register has a reference of its documentation (Annex XII)."),
                ),
                frozenset(),
                per_system=True,
            ),
            Population(
                "recipients",
                "Recipients",
                "Every backend that calls went to.",
                (
                    _text("backend", "Its name."),
                    _text("region", "Its region."),
                    _number("calls", "Calls that it answered."),
                    _flag(
                        "declared", "The register names it for the system; or names none, and the configuration does."
                    ),
                    _flag("region_declared", "Its region or country is known."),
                ),
                frozenset(),
                per_system=True,
            ),
            Population(
                "frequency",
                "Frequency of use",
                "Every system whose expected frequency the register names.",
                (
                    _number("calls", "Allowed calls in the period."),
                    _number("expected", "Calls that were to be expected."),
                    _flag("within_a_fifth", "The two differ by at most a fifth of what was expected."),
                ),
                frozenset(),
                per_system=True,
            ),
        )
    }
)
"""All populations, by name."""
