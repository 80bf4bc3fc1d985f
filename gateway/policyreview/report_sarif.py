"""The impact report as SARIF 2.1.0 (OASIS), so that code scanning shows each group at the policy file behind it."""

from collections.abc import Iterator
from hashlib import sha256
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

from gateway.policyreview.impact import ALLOW_TO_DENY, DENY_TO_ALLOW, Flip, Impact
from gateway.policyreview.inert import plain
from gateway.policyreview.revisions import Revision

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

MAX_RESULTS = 5000
"""Results in one run; code scanning takes no more."""

_RULES = {
    ALLOW_TO_DENY: ("Recorded calls would be refused", "warning"),
    DENY_TO_ALLOW: ("Recorded refusals would be allowed", "warning"),
    "lost-access": ("A model that was used could not be used any more", "error"),
    "separation-of-duties": ("A principal would hold roles that are kept apart", "error"),
    "obligations": ("Recorded calls would have another bound or region", "note"),
    "new-access": ("An access would be newly granted", "note"),
    "limits": ("Principals would have other quota limits", "note"),
    "undecided": ("Neither revision can decide recorded calls", "error"),
}

_ROLES, _BINDINGS, _LIMITS = (f"govgateway/{table}/data.yaml" for table in ("roles", "bindings", "limits"))
_DECISION = "govgateway/authz/decision.rego"


def impact_sarif(impact: Impact, candidate: Revision) -> dict[str, Any]:
    """Return one result a group, at the file and line of the candidate that it is most likely about."""
    results: list[dict[str, Any]] = []
    for rule, message, key, file, words in _findings(impact, candidate):
        if len(results) == MAX_RESULTS:
            break
        results.append(_result(candidate, rule, message, key, file, words))
    rules = [
        {"id": f"policy-impact/{name}", "shortDescription": {"text": text}, "defaultConfiguration": {"level": level}}
        for name, (text, level) in _RULES.items()
    ]
    driver = {"name": "govctl policy impact", "version": version("govgateway"), "rules": rules}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results, "columnKind": "unicodeCodePoints"}],
    }


_Finding = tuple[str, str, tuple[str, ...], str, str]
"""Rule, message, what tells it apart, the file, and words of the line in it."""


def _findings(impact: Impact, candidate: Revision) -> Iterator[_Finding]:
    for lost in impact.lost_access:
        text = f"{lost.who[0]} could not use {lost.model} any more: {lost.count.decisions} recorded calls."
        yield "lost-access", text, (lost.who[0], lost.model), _ROLES, ""
    for violation in impact.violations:
        if violation.new:
            who, roles = violation.who[0], " and ".join(violation.roles)
            text = f"{who} would hold {roles}, which are kept apart ({violation.duties}): {violation.why}."
            yield "separation-of-duties", text, (who, violation.duties), _BINDINGS, who
    for undecided in impact.undecided:
        text = f"Neither revision can decide {undecided.action} on {undecided.resource} by {undecided.who[0]}."
        yield "undecided", text, (undecided.who[0], undecided.action, undecided.resource), _DECISION, ""
    for flip in impact.flips:
        verb = "would be refused" if flip.change == ALLOW_TO_DENY else "would be allowed"
        text = (
            f"{flip.count.decisions} recorded calls of {flip.who[0]}, {flip.action} on {flip.resource}, {verb} "
            f"({', '.join(flip.reasons)})."
        )
        key = (flip.who[0], flip.action, flip.resource, *flip.reasons)
        yield flip.change, text, key, *_place_of(flip, impact, candidate)
    for bound in impact.obligations:
        text = (
            f"{bound.decisions} recorded calls of {bound.principal}, {bound.action} on {bound.resource}: {bound.type} "
            f"from {bound.before} to {bound.after} ({bound.direction})."
        )
        key = (bound.principal, bound.action, bound.resource, bound.type)
        yield "obligations", text, key, _ROLES, ""
    for limit in impact.limits:
        text = f"{limit.name} from {limit.before} to {limit.after} for {len(limit.principals)} principals seen."
        yield "limits", text, (limit.name,), _LIMITS, ""
    for new in impact.new_access:
        granted = new.granted
        text = f"{granted.subject} may newly do {granted.action} on {granted.resource} as {granted.role}."
        file = _BINDINGS if any(each.subject == granted.subject for each in impact.differences.subjects) else _ROLES
        key = (granted.subject, granted.role, granted.action, granted.resource)
        yield "new-access", text, key, file, granted.subject


def _place_of(flip: Flip, impact: Impact, candidate: Revision) -> tuple[str, str]:
    """Return file and words of the line that a turned decision is about: a rule that changed, a role, a binding."""
    for change in impact.differences.rules:
        content = candidate.tree.files.get(change.file, b"").decode(errors="replace")
        for reason in flip.reasons:
            if f'"{reason}"' in content:
                return change.file, f'"{reason}"'
    for role in impact.differences.roles:
        if role.role in flip.roles:
            return _ROLES, f"{role.role}:"
    for subject in impact.differences.subjects:
        bound = {binding.partition(" ")[0] for binding in (*subject.gained, *subject.lost)}
        mine = subject.subject in {flip.who[0], f"team:{flip.who[1]}", f"kind:{flip.who[2]}"}
        if mine and not bound.isdisjoint(flip.roles):
            return _BINDINGS, subject.subject
    for reason in flip.reasons:
        for module in candidate.policies.modules:
            if f'"{reason}"' in module.text:
                return module.name, f'"{reason}"'
    return _DECISION, ""


def _result(
    candidate: Revision, rule: str, message: str, key: tuple[str, ...], file: str, words: str
) -> dict[str, Any]:
    fingerprint = sha256("\0".join((rule, *key)).encode()).hexdigest()
    uri = quote("/".join(filter(None, (candidate.root.rstrip("/"), file))))
    return {
        "ruleId": f"policy-impact/{rule}",
        "ruleIndex": list(_RULES).index(rule),
        "level": _RULES[rule][1],
        "message": {"text": plain(message, 1000)},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": uri},
                    "region": {"startLine": _line(candidate, file, words)},
                }
            }
        ],
        "partialFingerprints": {"policyImpact/v1": fingerprint},
    }


def _line(candidate: Revision, file: str, words: str) -> int:
    lines = candidate.tree.files.get(file, b"").decode(errors="replace").splitlines()
    return next((number for number, line in enumerate(lines, 1) if words and words in line), 1)
