"""Checks a record against the definition of its type."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from audit.events.base import Unwritable
from audit.events.registry import EVENTS


def validate_record(document: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a record, in words; nothing if it is as its type's definition says.

    Args:
        document: the parsed record, with the fields of the chain.
    """
    name = document.get("type")
    if not isinstance(name, str) or name not in EVENTS:
        return [f"type: {name!r:.100} is not a record type"]
    model = Unwritable if "unwritable" in document else EVENTS[name].model
    try:
        model.model_validate(document, strict=True)
    except ValidationError as error:
        return [
            f"{_place(each['loc'])}: {each['msg']}" for each in error.errors(include_url=False, include_input=False)
        ]
    return [f"{field}: null is not written" for field, value in document.items() if value is None]


def _place(steps: tuple[int | str, ...]) -> str:
    return ".".join(map(str, steps)) or "record"
