"""Checks policies beyond what the gateway refuses: what is unused, hidden, covered, repeated or unexplained."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.authorization.decision_form import MALFORMED
from gateway.authorization.delegated import REGIONS_CONFLICT
from gateway.authorization.input import Principal
from gateway.authorization.input_paths import input_paths
from gateway.authorization.policy_set import LoadedPolicySet
from gateway.authorization.policy_tree import PolicyTree
from gateway.authorization.reason_codes import reason_code_places
from gateway.authorization.rego import Module
from gateway.policyreview.data_places import DataPlaces
from gateway.policyreview.findings import Finding, in_order
from gateway.policyreview.lint_tables import (
    covered_permissions,
    expired,
    inherited_bindings,
    repeated_bindings,
    unbound_roles,
    unused_systems,
)
from gateway.policyreview.rego_syntax import RegoFile, parse, references
from gateway.policyreview.shadowing import shadowing
from gateway.policyreview.unused_rules import unused_rules

GATEWAY_CODES = frozenset({MALFORMED, REGIONS_CONFLICT, "default_deny"})
"""Reason codes that the gateway gives by itself, whatever the rules say."""


def lint(
    tree: PolicyTree,
    policies: LoadedPolicySet,
    *,
    now: int,
    systems: frozenset[str] | None = None,
    principals: Sequence[Principal] = (),
) -> list[Finding]:
    """Return what there is to say about policies that load.

    Args:
        tree: their files.
        policies: what the files load to.
        now: UNIX seconds.
        systems: AI systems that the configured models belong to; None where no configuration is known.
        principals: those of the inventory; none where no inventory is known.
    """
    files = parse((*policies.modules, *policies.tests))
    tables, places = policies.tables, DataPlaces(tree)
    found = [
        *unused_rules(files),
        *shadowing(files),
        *covered_permissions(tables, places),
        *unbound_roles(tables, places),
        *repeated_bindings(tables, places, now),
        *inherited_bindings(tables, places, principals, now),
        *expired(tables, places, now),
        *_reasons(policies, places),
        *_whole_input(policies, files),
        *(() if systems is None else unused_systems(tables, places, systems)),
    ]
    return in_order(found)


def _reasons(policies: LoadedPolicySet, places: DataPlaces) -> Iterator[Finding]:
    given = reason_code_places(policies)
    explained = policies.tables.reasons
    for code, (file, line) in given.items():
        if code not in explained:
            message = f"the reason code {code} is not explained"
            remedy = "Add it to the table reasons, with a message and a remedy for whoever is refused."
            yield Finding("warning", "reason-unexplained", file, line, message, remedy)
    for code in explained.keys() - given.keys() - GATEWAY_CODES:
        yield Finding(
            "info",
            "reason-unused",
            *places.find("govgateway", "reasons", code),
            f"no rule gives the reason code {code} as a text",
            "Remove it, unless a rule puts it together or records of the past name it.",
        )


@dataclass(frozen=True, slots=True)
class _OneFile:
    """A file of a policy set by itself."""

    modules: tuple[Module, ...]
    tests: tuple[Module, ...]


def _whole_input(policies: LoadedPolicySet, files: list[RegoFile]) -> Iterator[Finding]:
    if not input_paths(policies).whole:
        return
    for module, file in zip(policies.modules, files, strict=False):
        if input_paths(_OneFile((module,), policies.tests)).whole:
            lines = [line for each in file.definitions for path, line in references(each.node) if path == ("input",)]
            yield Finding(
                "warning",
                "whole-input",
                file.name,
                min(lines, default=1),
                "this reads the input as a whole, so that no two calls are alike to the decision cache",
                "Name the parts it needs: input.action, input.resource.id and so on.",
            )
