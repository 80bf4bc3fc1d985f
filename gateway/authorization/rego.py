"""The Rego engine of the process: modules in, JSON in, JSON out, and errors a person can read.

Values cross the border as JSON text only. The engine's own conversion of Python objects depends on its
version: it has turned `True` into `1` and whole numbers into floats.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import regorus

_UNDEFINED = '"<undefined>"'  # how the engine writes the value of a rule that has none


class RegoError(Exception):
    """The engine refused a module or failed in an evaluation; the message names file, line and cause."""


@dataclass(frozen=True, slots=True)
class Module:
    """One Rego file.

    Attributes:
        name: path relative to the policy directory, with forward slashes; engine errors name it.
        text: source.
    """

    name: str
    text: str


def new_engine(modules: Sequence[Module], data_json: str = "{}") -> Any:
    """Return an engine with these modules and this data document. It belongs to the calling thread.

    Raises:
        RegoError: a module does not parse, or the data conflict.
    """
    engine = regorus.Engine()
    try:
        for module in modules:
            engine.add_policy(module.name, module.text)
        engine.add_data_json(data_json)
    except Exception as error:
        raise RegoError(engine_message(error)) from None
    except BaseException as error:
        if not is_panic(error):
            raise
        raise RegoError(f"the Rego engine panicked: {error}") from None
    return engine


def evaluate(engine: Any, rule: str, input_json: str | None) -> Any:
    """Return the value of `rule` for this input, as `json.loads` would; None where it is undefined.

    Without an input, `input` is the engine's last one, and undefined in a new engine.

    Raises:
        RegoError: the evaluation failed, or the engine panicked; a panicked engine must not be used again.
    """
    try:
        if input_json is not None:
            engine.set_input_json(input_json)
        text = engine.eval_rule_as_json(rule)
    except Exception as error:
        if str(error).startswith("not a valid rule path"):
            return None
        raise RegoError(engine_message(error)) from None
    except BaseException as error:
        if not is_panic(error):
            raise
        raise EnginePanicError(f"the Rego engine panicked: {error}") from None
    return None if text == _UNDEFINED else orjson.loads(text)


def evaluate_all(engine: Any) -> None:
    """Evaluate every rule of every module for an empty input, and drop the values.

    Raises:
        RegoError: a rule cannot be evaluated, for instance because of an unsafe variable.
    """
    try:
        engine.set_input_json("{}")
        engine.eval_query_as_json("data")
    except Exception as error:
        raise RegoError(engine_message(error)) from None
    except BaseException as error:
        if not is_panic(error):
            raise
        raise EnginePanicError(f"the Rego engine panicked: {error}") from None


class EnginePanicError(RegoError):
    """The engine panicked; its state is unknown."""


def is_panic(error: BaseException) -> bool:
    """Whether a native panic reached Python. Its class derives from BaseException and cannot be imported."""
    return type(error).__name__ == "PanicException"


def engine_message(error: BaseException) -> str:
    """Return the engine's message as one line, `file:line:column: cause`, without its native backtrace."""
    text = str(error).split("Stack backtrace:", 1)[0].strip()
    place, cause = "", []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("--> ") and not place:
            place = stripped[4:] + ": "
        elif stripped.startswith("error: "):
            cause.append(stripped[7:])
    return place + ("; ".join(cause) or " ".join(text.split()) or "no message")
