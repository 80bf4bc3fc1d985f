"""How a secret passes from the control process to a worker: over their socket pair, never elsewhere."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from gateway.secrets.fetched import Fetched, SecretSourceError
from gateway.secrets.store import Secret

TYPE = "secret"
"""Type of the messages, both ways."""


def question_message(unit: tuple[str, str], *, refused: bool = False) -> dict[str, Any]:
    """Return a worker's question; `refused`: the backend did not take the value that the worker has."""
    return {"type": TYPE, "unit": unit[0], "principal": unit[1], "refused": refused}


def answer_message(unit: tuple[str, str], fetched: Fetched, usable_seconds: float) -> dict[str, Any]:
    """Return an answer; `usable_seconds`: how long the worker may use it unless it hears again."""
    return {
        "type": TYPE,
        "unit": unit[0],
        "principal": unit[1],
        "fields": {name: b64encode(value.reveal()).decode() for name, value in fetched.fields.items()},
        "others": sorted(fetched.others),
        "version": fetched.version,
        "lease": fetched.lease_id,
        "usable_seconds": min(usable_seconds, 1e9),
    }


def failure_message(unit: tuple[str, str], error: SecretSourceError) -> dict[str, Any]:
    """Return the answer that there is nothing."""
    return {
        "type": TYPE,
        "unit": unit[0],
        "principal": unit[1],
        "error": {"code": error.code, "detail": str(error), "remedy": error.remedy},
    }


def forget_message(unit: tuple[str, str]) -> dict[str, Any]:
    """Return the order to forget a value."""
    return {"type": TYPE, "unit": unit[0], "principal": unit[1], "forget": True}


def fields_of(message: Mapping[str, Any]) -> dict[str, Secret]:
    """Return the values of an answer."""
    return {name: Secret(b64decode(value)) for name, value in message["fields"].items()}
