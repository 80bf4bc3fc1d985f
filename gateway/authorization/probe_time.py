"""Measures decisions while policies are loaded: rules whose time grows too fast are refused before they hold a call up.

The embedded engine cannot be interrupted, so nothing may be tried at once that might not end. The data and the lists
of the input begin with one entry and double; each decision is timed on the way, and the first that takes too long ends
the trial. Loops in loops over all of the data are then found at a size where they still end.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import orjson

from gateway.authorization.rego import Module, RegoError, evaluate, evaluate_all, new_engine
from gateway.errors import ConfigError

DECISION_SECONDS = 0.1
"""Processor time that one decision may take (seconds)."""

MAX_LIST = 128
"""Entries of each list of the largest input tried."""


def check_time(modules: Sequence[Module], data: Any, entry_point: str) -> None:
    """Decide with more and more of the data, for longer and longer inputs.

    Args:
        modules: the Rego files that decide.
        data: the data document.
        entry_point: the rule that decides.

    Raises:
        ConfigError: a decision, or all rules together, took longer than one decision may.
        RegoError: a module does not parse.
    """
    empty = new_engine(modules)
    largest = _largest(data)
    size = 1
    while True:
        engine = empty.clone()
        engine.add_data_json(orjson.dumps(_first(data, size)).decode())
        document = orjson.dumps(_long_input(data, min(size, MAX_LIST))).decode()
        decisions = (partial(evaluate_all, engine), partial(evaluate, engine, entry_point, document))
        spent = max(map(_time, decisions))
        if spent > DECISION_SECONDS:
            # Once more: the first error that the engine meets in a process costs it about as much.
            spent = max(map(_time, decisions))
        if spent > DECISION_SECONDS:
            raise ConfigError(
                f"{entry_point} takes {spent * 1000:.0f} ms with lists and tables of {size} entries; a decision may "
                f"take {DECISION_SECONDS * 1000:.0f} ms. Look entries up by their key instead of searching through "
                "tables."
            )
        if size >= max(largest, MAX_LIST):
            return
        size *= 2


def _time(work: Callable[[], object]) -> float:
    """Return the seconds of processor time that it takes, also where part of the data does not suffice for it."""
    start = time.thread_time()
    with contextlib.suppress(RegoError):
        work()
    return time.thread_time() - start


def _largest(value: Any) -> int:
    if isinstance(value, dict):
        return max(len(value), max(map(_largest, value.values()), default=0))
    if isinstance(value, list):
        return max(len(value), max(map(_largest, value), default=0))
    return 0


def _first(value: Any, size: int, depth: int = 0) -> Any:
    """Return a document with the first entries only of each list and mapping.

    The two upper levels, which name packages and tables, stay whole.
    """
    if isinstance(value, dict):
        keys = list(value) if depth < 2 else list(value)[:size]
        return {key: _first(value[key], size, depth + 1) for key in keys}
    if isinstance(value, list):
        return [_first(item, size, depth + 1) for item in value[:size]]
    return value


def _long_input(data: Any, size: int) -> dict[str, Any]:
    tables = data.get("govgateway", {}) if isinstance(data, dict) else {}
    roles = list(tables.get("roles") or ())[:size] if isinstance(tables, dict) else []
    systems = list(tables.get("systems") or ("",)) if isinstance(tables, dict) else [""]
    entries = [f"entry-{number}" for number in range(size)]
    return {
        "principal": {
            "id": "spiffe://probe.invalid/probe",
            "kind": "agent",
            "team": "probe",
            "owner": "probe",
            "status": "active",
            "risk_tier": "high",
            "roles": [*roles, *entries[len(roles) :]],
            "break_glass": entries,
            "delegation": entries,
            "attributes": dict.fromkeys(entries, "value"),
        },
        "action": "model.infer",
        "resource": {
            "type": "model",
            "id": "probe",
            "system": systems[0],
            "risk": "limited",
            "region": "probe",
            "data_classes": entries,
        },
        "request": {"protocol": "probe", "stream": False, "max_tokens": 1, "tools": entries, "data_classes": entries},
        "context": {"region": "local", "environment": "probe"},
    }
