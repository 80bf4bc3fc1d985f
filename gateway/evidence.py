"""Exports evidence: asks the policies whether the operator may, makes the package, and puts both on record."""

from collections.abc import Sequence

from audit.log import append_once
from compliance.package.building import Built, Request, build
from compliance.package.part import Part
from compliance.package.question import Question
from compliance.package.world import Progress
from gateway.app import checked_audit_store, configured_policies, open_registry, policy_store, stored_policies
from gateway.authorization.policy_set import LoadedPolicySet
from gateway.clock import NANOSECONDS, system_clock
from gateway.config import GatewayConfig
from gateway.errors import PolicyDeniedError
from gateway.evidence_key import open_evidence_key
from gateway.evidence_world import GatewayWorld, Measures
from gateway.operators import permission

ACTION = "admin.evidence.export"
CHAIN = "govctl"


def check_permission(config: GatewayConfig, question: Question, operator: str) -> None:
    """Refuse an operator whom the policies do not let export this evidence; the refusal is on record.

    Args:
        config: the configuration.
        question: what is asked for.
        operator: as in `operator:ada`.

    Raises:
        PolicyDeniedError: they may not.
    """
    policies = policies_in_force(config)
    registry = open_registry(config)
    try:
        agents = registry.snapshot(entries=False)
    finally:
        registry.close()
    resource = f"evidence/{question.system or 'organisation'}"
    asked = permission(config, policies, agents, operator, ACTION, resource, system_clock() // NANOSECONDS)
    if asked.allow:
        return
    store = checked_audit_store(config, CHAIN)
    fields = {
        **_asked(question, operator),
        "person": asked.person,
        "reasons": list(asked.reasons),
        "policy": {"revision": policies.revision, "data_digest": policies.data_digest},
        "policy_input": dict(asked.policy_input),
    }
    append_once(store, CHAIN, "evidence.refused", fields, system_clock)
    raise PolicyDeniedError(
        asked.message,
        remedy=f"A role with the action {ACTION} on {resource} lets them; the refusal is on record.",
        code=asked.reasons[0],
    )


def export_evidence(
    config: GatewayConfig,
    request: Request,
    operator: str,
    measures: Measures,
    parts: Sequence[Part],
    progress: Progress,
) -> Built:
    """Make a package, and put on record that it was made.

    Args:
        config: the configuration.
        request: what to make.
        operator: who exports.
        measures: what the populations are made and judged with.
        parts: what is written besides populations, samples and proofs.
        progress: told how far it is.

    Raises:
        compliance.errors.ComplianceError: it is refused, or something cannot be read or written.
        PolicyDeniedError: the operator may not.
    """
    check_permission(config, request.question, operator)
    world = GatewayWorld(config, request.question, operator, open_evidence_key(config), measures)
    built = build(request, world, parts, progress)
    fields = {
        **_asked(request.question, operator),
        "package_sha256": built.manifest_sha256,
        "commitment_sha256": built.commitment_sha256,
        "seed": request.seed,
        "records": built.facts.checkpoint.size,
        "unsafe_options": list(built.facts.unsafe_options),
    }
    append_once(checked_audit_store(config, CHAIN), CHAIN, "evidence.exported", fields, system_clock)
    return built


def policies_in_force(config: GatewayConfig) -> LoadedPolicySet:
    """Return the policies that the gateway decides by; those that it would start with, where it never ran.

    Raises:
        ConfigError: they cannot be used.
    """
    active = policy_store(config).history().active
    return configured_policies(config) if active is None else stored_policies(config, active.digest)


def _asked(question: Question, operator: str) -> dict[str, object]:
    return {
        "principal": operator,
        "system": question.system,
        "since": question.period.start_ns // NANOSECONDS,
        "until": question.period.end_ns // NANOSECONDS,
        "frameworks": list(question.frameworks),
        "real_names": question.real_names,
    }
