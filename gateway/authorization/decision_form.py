"""What a decision must look like: anything else that a policy answers is a deny."""

import re
from collections.abc import Mapping
from typing import Any

from gateway.authorization.engine import KNOWN_OBLIGATIONS, Decision

MALFORMED = "policy_malformed"
"""Reason code of the deny that stands in for an unusable answer."""

MALFORMED_DENY = Decision(allow=False, reasons=(MALFORMED,))
"""That deny. Never cached: the policies may be repaired at any moment."""

MAX_CACHE_SECONDS = 86_400
MAX_REASONS = 64
MAX_OBLIGATIONS = 16

MAX_APPROVAL_SECONDS = 604_800
"""Longest that a request for approval may stand (seconds)."""

MAX_WAIT_SECONDS = 300
"""Longest that a call may wait for a person's decision (seconds)."""

_KEYS = frozenset({"allow", "reasons", "obligations", "cache_seconds"})
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")


class MalformedDecisionError(ValueError):
    """A policy answered something that is not a decision; the message says what is wrong with it."""


def parse_decision(document: Any) -> Decision:
    """Return the decision that the entry point answered.

    Args:
        document: the value of the entry point as JSON; None where it is undefined.

    Raises:
        MalformedDecisionError: not the policy contract, to the letter.
    """
    if document is None:
        raise MalformedDecisionError("the entry point is undefined for this input")
    if not isinstance(document, dict):
        raise MalformedDecisionError(f"the decision is {_kind(document)}, not an object")
    if document.keys() != _KEYS:
        raise MalformedDecisionError(_key_difference(document))
    allow = document["allow"]
    if allow is not True and allow is not False:
        raise MalformedDecisionError(f"allow is {_kind(allow)}, not true or false")
    seconds = document["cache_seconds"]
    if type(seconds) is not int or not 0 <= seconds <= MAX_CACHE_SECONDS:
        raise MalformedDecisionError(
            f"cache_seconds is {seconds!r:.40}, not a whole number of seconds from 0 to {MAX_CACHE_SECONDS}"
        )
    reasons = _reasons(document["reasons"])
    if not allow and not reasons:
        raise MalformedDecisionError("a deny gives no reason")
    return Decision(allow, reasons, _obligations(document["obligations"]), seconds)


def _reasons(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MAX_REASONS:
        raise MalformedDecisionError(f"reasons is not an array of at most {MAX_REASONS} codes")
    for code in value:
        if not isinstance(code, str) or not _CODE.fullmatch(code):
            raise MalformedDecisionError(f"the reason {code!r:.80} is not a code such as model_not_granted")
    return tuple(value)


def _obligations(value: Any) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(value, list) or len(value) > MAX_OBLIGATIONS:
        raise MalformedDecisionError(f"obligations is not an array of at most {MAX_OBLIGATIONS} objects")
    for obligation in value:
        _check_obligation(obligation)
    return tuple(value)


def _check_obligation(obligation: Any) -> None:
    kind = obligation.get("type") if isinstance(obligation, dict) else None
    if not isinstance(kind, str):
        raise MalformedDecisionError("an obligation is not an object with a type")
    if kind not in KNOWN_OBLIGATIONS:
        raise MalformedDecisionError(
            f"the obligation {kind!r:.80} is not one this gateway can carry out "
            f"({', '.join(sorted(KNOWN_OBLIGATIONS))})"
        )
    if kind == "clamp_max_tokens":
        tokens = obligation.get("max_tokens")
        good = obligation.keys() == {"type", "max_tokens"} and type(tokens) is int and tokens > 0
    elif kind == "log_content_sealed":
        case = obligation.get("case", "all")
        good = obligation.keys() <= {"type", "case"} and isinstance(case, str) and 0 < len(case) <= 200
    elif kind == "require_approval":
        good = _good_approval(obligation)
    elif kind == "watermark_notice":
        good = obligation.keys() == {"type"}
    else:
        region = obligation.get("region")
        good = obligation.keys() == {"type", "region"} and isinstance(region, str) and region != ""
    if not good:
        raise MalformedDecisionError(f"the obligation {kind} does not have the form of the policy contract")


def _good_approval(obligation: dict[str, Any]) -> bool:
    valid, wait = obligation.get("valid_seconds", 1), obligation.get("wait_seconds", 0)
    return (
        obligation.keys() <= {"type", "valid_seconds", "wait_seconds", "four_eyes"}
        and (type(valid) is int and 0 < valid <= MAX_APPROVAL_SECONDS)
        and (type(wait) is int and 0 <= wait <= MAX_WAIT_SECONDS)
        and type(obligation.get("four_eyes", False)) is bool
    )


def _key_difference(document: dict[str, Any]) -> str:
    missing, extra = sorted(_KEYS - document.keys()), sorted(document.keys() - _KEYS)
    parts = [f"it lacks {', '.join(missing)}"] if missing else []
    if extra:
        parts.append(f"it has the unknown key {', '.join(extra)[:200]}")
    return f"the decision is not of the contract's form: {' and '.join(parts)}"


def _kind(value: Any) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array"}
    return "null" if value is None else names.get(type(value), "an object")
