"""Recorded decisions: the policy inputs of calls that were made, with when and how often, and never their content."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from audit.canonical import MAX_INTEGER, canonical
from audit.errors import CanonicalError
from gateway.errors import ConfigError

MAX_LINE_BYTES = 1_048_576
"""Longest line of a file of recorded decisions (bytes)."""

MAX_LINKS = 64
"""Most inputs of one call: the caller's and one for each it acts for."""

_TEXTS = {"principal": ("id", "team", "kind"), "resource": ("type", "id", "system")}
_SAMPLE_KEYS = frozenset({"input", "delegated", "count", "first", "time", "tokens", "decision"})


class RecordedError(ConfigError):
    """A recorded decision cannot be used; the message names the file and the line."""


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One call, or several with the same input.

    Attributes:
        chain: canonical JSON array of the inputs of every link, the caller's first.
        time: when it was made last (UNIX seconds); grants that end are looked up for this moment.
        first: when it was made first (UNIX seconds).
        count: how many calls.
        tokens: tokens charged for them together.
        decision: `allow` or `deny` as the policies decided, empty where they are not known to have.
    """

    chain: bytes
    time: int
    first: int
    count: int = 1
    tokens: int = 0
    decision: str = ""


def chain_of(inputs: list[Any]) -> bytes:
    """Return the inputs of a call's links as canonical JSON.

    Raises:
        ValueError: not the policy inputs of a call; the message says which part.
    """
    if not 1 <= len(inputs) <= MAX_LINKS:
        raise ValueError(f"a call has 1 to {MAX_LINKS} inputs")
    for each in inputs:
        _check_input(each)
    try:
        return canonical(inputs)
    except CanonicalError as error:
        raise ValueError(str(error)) from None


def read_samples(path: Path) -> Iterator[RecordedCall]:
    """Yield the samples of a file, one JSON object a line.

    Raises:
        RecordedError: names the file, the line and what is wrong with it.
    """
    for number, document in read_lines(path):
        try:
            yield _sample(document)
        except ValueError as error:
            raise RecordedError(f"{path}:{number}: {error}. Record the samples anew: govctl policy record.") from None


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield number and content of the lines of a file of JSON objects; empty lines are passed over.

    Raises:
        RecordedError: a line is too long or no JSON object, or the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise RecordedError(f"{path}:{number}: the line is longer than {MAX_LINE_BYTES} bytes.")
                if line.strip():
                    yield number, _object(line, path, number)
    except OSError as error:
        raise RecordedError(f"{path} cannot be read: {error.strerror}.") from error


def merged(calls: Iterable[RecordedCall]) -> list[RecordedCall]:
    """Return the distinct inputs with their counts, times and tokens; the one seen last comes first.

    Decisions that were not the same are forgotten: the bindings or the rules changed in between.
    """
    found: dict[bytes, RecordedCall] = {}
    for call in calls:
        known = found.get(call.chain)
        found[call.chain] = call if known is None else _sum(known, call)
    return sorted(found.values(), key=lambda call: (-call.time, call.chain))


def sample_line(call: RecordedCall) -> bytes:
    """Return a recorded call as a line of a file of samples."""
    first, *delegated = orjson.loads(call.chain)
    document: dict[str, Any] = {"input": first, "count": call.count, "first": call.first, "time": call.time}
    document["tokens"] = call.tokens
    if delegated:
        document["delegated"] = delegated
    if call.decision:
        document["decision"] = call.decision
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS) + b"\n"


def _sum(one: RecordedCall, other: RecordedCall) -> RecordedCall:
    return RecordedCall(
        one.chain,
        max(one.time, other.time),
        min(one.first, other.first),
        one.count + other.count,
        one.tokens + other.tokens,
        one.decision if one.decision == other.decision else "",
    )


def _sample(document: dict[str, Any]) -> RecordedCall:
    unknown = sorted(document.keys() - _SAMPLE_KEYS)
    if unknown or "input" not in document:
        raise ValueError(f"unknown key {unknown[0]!r:.80}" if unknown else "there is no 'input'")
    delegated = document.get("delegated", [])
    if not isinstance(delegated, list):
        raise ValueError("'delegated' is not an array of inputs")  # noqa: TRY004 - one type for every fault
    count, time, tokens = (_whole(document, key) for key in ("count", "time", "tokens"))
    first = _whole(document, "first") if "first" in document else time
    if "count" in document and count < 1:
        raise ValueError("'count' is at least 1")
    decision = document.get("decision", "")
    if decision not in {"", "allow", "deny"}:
        raise ValueError("'decision' is allow or deny")
    return RecordedCall(chain_of([document["input"], *delegated]), time, first, max(count, 1), tokens, decision)


def _whole(document: dict[str, Any], key: str) -> int:
    value = document.get(key, 0)
    if type(value) is not int or not 0 <= value <= MAX_INTEGER:
        raise ValueError(f"'{key}' is not a whole number from 0 to 2^53 - 1")
    return value


def _object(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        document = orjson.loads(line)
    except ValueError as error:
        raise RecordedError(f"{path}:{number}: not JSON: {error}.") from None
    if not isinstance(document, dict):
        raise RecordedError(f"{path}:{number}: not a JSON object.")
    return document


def _check_input(document: Any) -> None:
    action = document.get("action") if isinstance(document, dict) else None
    if not isinstance(action, str):
        raise ValueError("a policy input is an object with the text 'action'")  # noqa: TRY004 - as above
    for part, names in _TEXTS.items():
        value = document.get(part)
        if not isinstance(value, dict) or any(not isinstance(value.get(name), str) for name in names):
            raise ValueError(f"'{part}' of the policy input is an object with the texts {', '.join(names)}")
    roles = document["principal"].get("roles")
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        raise ValueError("'principal.roles' of the policy input is an array of texts")
