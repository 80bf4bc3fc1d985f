"""The impact report and the differences as JSON of a stable form."""

from dataclasses import asdict
from typing import Any

from gateway.policyreview.differences import Differences
from gateway.policyreview.impact import Count, Example, Flip, Impact, Who
from gateway.policyreview.impact_totals import totals_by
from gateway.policyreview.replay import Verdict
from gateway.policyreview.thresholds import Crossed

IMPACT_SCHEMA = "govgateway.policy-impact/1"
DIFFERENCES_SCHEMA = "govgateway.policy-differences/1"
"""Names of the forms. A change that breaks a reader raises the number; new keys may come at any time."""

MAX_ITEMS = 5000
"""Items listed of one kind; `left_out` says how many more there are."""


def impact_document(impact: Impact, crossed: list[Crossed], price_per_1k: float | None = None) -> dict[str, Any]:
    """Return the report as JSON values.

    Args:
        impact: the report.
        crossed: thresholds that it crosses.
        price_per_1k: price of a thousand tokens; without it no cost is given.
    """
    counts = impact.counts()
    left_out: dict[str, int] = {}
    document: dict[str, Any] = {
        "schema": IMPACT_SCHEMA,
        "base": dict(impact.differences.base),
        "candidate": dict(impact.differences.candidate),
        "counts": counts,
        "recorded": {
            **asdict(impact.recorded),
            "principals": impact.principals,
            "reproduced": impact.reproduced,
            "departing": impact.departing,
        },
        "totals": {
            by: [asdict(each) for each in totals_by(impact, by)[:MAX_ITEMS]] for by in ("principal", "resource", "rule")
        },
        "crossed": [
            {"figure": each.threshold.figure, "tolerated": each.threshold.tolerated, "found": each.found}
            for each in crossed
        ],
        "left_out": left_out,
    }
    for name, items in (
        ("flips", [_flip(each) for each in impact.flips[:MAX_ITEMS]]),
        ("obligations", [asdict(each) for each in impact.obligations[:MAX_ITEMS]]),
        ("limits", [asdict(each) for each in impact.limits[:MAX_ITEMS]]),
        ("lost_access", [{**_who(e.who), "model": e.model, **_count(e.count)} for e in impact.lost_access[:MAX_ITEMS]]),
        ("new_access", [{**asdict(e.granted), "decisions": e.decisions} for e in impact.new_access[:MAX_ITEMS]]),
        ("separation_of_duties", [
            {**_who(e.who), "duties": e.duties, "roles": list(e.roles), "why": e.why, "new": e.new}
            for e in impact.violations[:MAX_ITEMS]
        ]),
        ("undecided", [
            {**_who(e.who), "action": e.action, "resource": e.resource, **_count(e.count),
             "examples": [_example(example) for example in e.examples]}
            for e in impact.undecided[:MAX_ITEMS]
        ]),
    ):  # fmt: skip
        document[name] = items
        total = len(getattr(impact, {"separation_of_duties": "violations"}.get(name, name)))
        if total > MAX_ITEMS:
            left_out[name] = total - MAX_ITEMS
    if price_per_1k is not None:
        document["cost"] = {"price_per_1k": price_per_1k, "affected": round(counts["tokens"] / 1000 * price_per_1k, 6)}
    return document


def differences_document(changes: Differences) -> dict[str, Any]:
    """Return the differences as JSON values."""
    document = asdict(changes)
    for role in document["roles"]:
        role["gained"], role["lost"] = _accesses(role["gained"]), _accesses(role["lost"])
    for subject in document["subjects"]:
        subject["access_gained"] = _accesses(subject["access_gained"])
        subject["access_lost"] = _accesses(subject["access_lost"])
    return {"schema": DIFFERENCES_SCHEMA, **document}


def _accesses(pairs: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    return [{"action": action, "resource": resource} for action, resource in pairs]


def _flip(flip: Flip) -> dict[str, Any]:
    return {
        "change": flip.change,
        **_who(flip.who),
        "action": flip.action,
        "resource": flip.resource,
        "reasons": list(flip.reasons),
        "roles": list(flip.roles),
        **_count(flip.count),
        "examples": [_example(each) for each in flip.examples],
    }


def _who(who: Who) -> dict[str, str]:
    return {"principal": who[0], "team": who[1], "kind": who[2]}


def _count(count: Count) -> dict[str, int]:
    return asdict(count)


def _example(example: Example) -> dict[str, Any]:
    return {
        "time": example.time,
        "input": example.inputs[0],
        "delegated": example.inputs[1:],
        "base": _verdict(example.base),
        "candidate": _verdict(example.candidate),
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    decision = verdict.decision
    return {
        "allow": decision.allow,
        "reasons": list(decision.reasons),
        "obligations": [dict(each) for each in decision.obligations],
        "roles": list(verdict.roles),
    }
