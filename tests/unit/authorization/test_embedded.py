"""Policies that misbehave, and an engine that fails: the answer is a deny, and somebody is told."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import pytest

from gateway.authorization.decision_form import MALFORMED_DENY
from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.policy_set import LoadedPolicySet
from gateway.authorization.rego import RegoError, engine_message, new_engine
from tests.unit.authorization.conftest import call

GOOD = '"allow": true, "reasons": [], "obligations": [], "cache_seconds": 1'
BAD_CALL = call(resource={"id": "bad"})


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        ("input.nothing", "undefined"),
        ("null", "undefined"),
        ('"allow"', "is a string, not an object"),
        ("true", "is a boolean, not an object"),
        ("[]", "is an array, not an object"),
        ("{}", "it lacks allow, cache_seconds, obligations, reasons"),
        ("{%s, 'why': 1}", "unknown key why"),
        ('{"allow": true, "obligations": [], "cache_seconds": 1}', "it lacks reasons"),
        ("{%s, 'allow': 1}", "allow is a number"),
        ("{%s, 'allow': 'true'}", "allow is a string"),
        ("{%s, 'allow': null}", "allow is null"),
        ("{%s, 'reasons': {}}", "reasons is not an array"),
        ("{%s, 'reasons': 'because'}", "reasons is not an array"),
        ("{%s, 'reasons': [1]}", "the reason 1 is not a code"),
        ("{%s, 'reasons': ['Not a code']}", "the reason 'Not a code' is not a code"),
        ("{%s, 'allow': false}", "a deny gives no reason"),
        ("{%s, 'cache_seconds': -1}", "cache_seconds is -1"),
        ("{%s, 'cache_seconds': 1.5}", "cache_seconds is 1.5"),
        ("{%s, 'cache_seconds': true}", "cache_seconds is True"),
        ("{%s, 'cache_seconds': '60'}", "cache_seconds is '60'"),
        ("{%s, 'cache_seconds': 86401}", "cache_seconds is 86401"),
        ("{%s, 'obligations': {}}", "obligations is not an array"),
        ("{%s, 'obligations': ['clamp_max_tokens']}", "an obligation is not an object"),
        ("{%s, 'obligations': [{}]}", "an obligation is not an object with a type"),
        ("{%s, 'obligations': [{'type': 'redact'}]}", "the obligation 'redact' is not one"),
        ("{%s, 'obligations': [{'type': 'clamp_max_tokens'}]}", "clamp_max_tokens does not have the form"),
        (
            "{%s, 'obligations': [{'type': 'clamp_max_tokens', 'max_tokens': 0}]}",
            "clamp_max_tokens does not have the form",
        ),
        (
            "{%s, 'obligations': [{'type': 'clamp_max_tokens', 'max_tokens': 1.5}]}",
            "clamp_max_tokens does not have the form",
        ),
        (
            "{%s, 'obligations': [{'type': 'clamp_max_tokens', 'max_tokens': 1, 'soft': true}]}",
            "clamp_max_tokens does not have the form",
        ),
        ("{%s, 'obligations': [{'type': 'route_region', 'region': ''}]}", "route_region does not have the form"),
        (
            "{%s, 'obligations': [{'type': 'watermark_notice', 'text': 'made by AI'}]}",
            "watermark_notice does not have the form",
        ),
    ],
)
async def test_answer_that_is_not_a_decision_is_a_deny(
    misbehaving: Callable[[str], EmbeddedEngine], value: str, detail: str
) -> None:
    engine = misbehaving(_merged(value))
    told: list[str] = []
    engine._on_malformed = told.append
    assert await engine.decide(BAD_CALL) is MALFORMED_DENY
    assert len(told) == engine.malformed == 1
    assert detail in told[0]
    assert (await engine.decide(call())).reasons == ("default_deny",)
    assert engine.malformed == 1


def _merged(value: str) -> str:
    """Write `{%s, 'key': …}` as the good answer with that key added or replaced."""
    if not value.startswith("{%s"):
        return value
    change = value.replace("{%s, ", "{").replace("'", '"')
    return f"object.union({{{GOOD}}}, {change})"


async def test_good_answer_of_the_same_policy_is_taken(misbehaving: Callable[[str], EmbeddedEngine]) -> None:
    assert (await misbehaving(f"{{{GOOD}}}").decide(BAD_CALL)).allow


async def test_rule_that_fails_for_one_input_is_a_deny_for_that_input(
    misbehaving: Callable[[str], EmbeddedEngine],
) -> None:
    engine = misbehaving("sum(input.action)")
    assert await engine.decide(BAD_CALL) is MALFORMED_DENY
    assert (await engine.decide(call())).reasons == ("default_deny",)


async def test_conflicting_answers_are_a_deny(misbehaving: Callable[[str], EmbeddedEngine]) -> None:
    other = '{"allow": false, "reasons": ["x"], "obligations": [], "cache_seconds": 0}'
    engine = misbehaving(f"{other}\n}}\ndecision := {{{GOOD}}} if {{\n\tbad")
    assert await engine.decide(BAD_CALL) is MALFORMED_DENY


@pytest.mark.parametrize("document", [{"a": object()}, {"a": "\ud800"}, {1: 2}, {"a": 2**70}])
def test_input_that_is_not_json_is_a_deny(starter: LoadedPolicySet, document: Any) -> None:
    engine = EmbeddedEngine(starter)
    assert engine.decide_now(document) is MALFORMED_DENY
    assert engine.malformed == 1


class PanicException(BaseException):
    pass


class Panicking:
    def set_input_json(self, _text: str) -> None:
        pass

    def eval_rule_as_json(self, _rule: str) -> NoReturn:
        raise PanicException("index out of bounds")


def test_engine_that_panics_is_a_deny_and_is_replaced(starter: LoadedPolicySet) -> None:
    told: list[str] = []
    engine = EmbeddedEngine(starter, told.append)
    engine._engine = Panicking()
    assert engine.decide_now(call()) is MALFORMED_DENY
    assert told == ["the Rego engine panicked: index out of bounds"]
    assert engine.decide_now(call()).allow


def test_real_panic_of_the_native_engine_is_contained(starter: LoadedPolicySet) -> None:
    """An engine of another thread makes the bindings panic; it must also be dropped where it was made."""
    engine = EmbeddedEngine(starter)
    foreign: list[Any] = []
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: foreign.append(starter.new_engine())).result()
        engine._engine = foreign[0]
        assert engine.decide_now(call()) is MALFORMED_DENY
        assert engine.decide_now(call()).allow
        thread.submit(foreign.clear).result()


def test_interrupt_is_not_mistaken_for_a_panic(starter: LoadedPolicySet) -> None:
    class Interrupted(Panicking):
        def eval_rule_as_json(self, _rule: str) -> NoReturn:
            raise KeyboardInterrupt

    engine = EmbeddedEngine(starter)
    engine._engine = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        engine.decide_now(call())


def test_call_from_another_thread_is_a_deny_and_does_not_touch_the_engine(starter: LoadedPolicySet) -> None:
    engine = EmbeddedEngine(starter)
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(engine.decide_now(call())))
    thread.start()
    thread.join()
    assert answers == [MALFORMED_DENY]
    assert engine.decide_now(call()).allow


def test_many_calls_under_way_decide_independently(starter: LoadedPolicySet) -> None:
    async def run() -> list[bool]:
        engine = EmbeddedEngine(starter)
        calls = [call(resource={"id": "example-a" if number % 2 else "other"}) for number in range(50)]
        return [decision.allow for decision in await asyncio.gather(*map(engine.decide, calls))]

    assert asyncio.run(run()) == [bool(number % 2) for number in range(50)]


def test_data_that_are_not_json_are_refused_by_the_engine() -> None:
    with pytest.raises(RegoError):
        new_engine([], "{")


def test_message_of_the_engine_is_one_line_without_backtrace() -> None:
    error = RuntimeError("\n--> a.rego:3:9\n  |\n3 | z if foo\n  |   ^\nerror: no such\n\nStack backtrace:\n 0: x")
    assert engine_message(error) == "a.rego:3:9: no such"
    assert engine_message(RuntimeError("")) == "no message"
