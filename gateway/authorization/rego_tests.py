"""Runs the Rego tests beside the policies in the engine that decides, with the verdicts of `opa test`."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from gateway.authorization.policy_set import LoadedPolicySet
from gateway.authorization.rego import EnginePanicError, Module, RegoError, evaluate, new_engine
from gateway.authorization.rego_test_rules import RegoTestRule, separate_tests


@dataclass(frozen=True, slots=True)
class RegoTestResult:
    """The verdict on one test rule.

    Attributes:
        file: file of the test, relative to the policy directory.
        name: full name of the rule, for instance `data.govgateway.authz_test.test_default_deny`; a second
            definition of the same name ends in `#01`.
        passed: whether the rule is true, or skipped.
        detail: why it did not pass; empty if it did.
        line: line of the rule.
        skipped: whether the rule is a `todo_test_…`, which is not evaluated.
        seconds: how long the evaluation took.
    """

    file: str
    name: str
    passed: bool
    detail: str = ""
    line: int = 0
    skipped: bool = False
    seconds: float = 0.0


class EngineWatcher(Protocol):
    """Sees each engine that tests run in."""

    def begin(self, engine: Any) -> None:
        """Take note of an engine before it evaluates anything."""

    def end(self, engine: Any) -> None:
        """Take note of an engine that evaluated the tests, or panicked."""


def run_rego_tests(
    policies: LoadedPolicySet, *, wanted: re.Pattern[str] | None = None, watcher: EngineWatcher | None = None
) -> tuple[RegoTestResult, ...]:
    """Evaluate every rule whose name starts with `test_`, in the order of the files.

    A rule passes if it is true. Anything else fails it: false, undefined, another value, an error.

    Args:
        policies: with their tests.
        wanted: what the full names of the tests to run match, anywhere in them; None runs all.
        watcher: sees the engines.
    """
    return tuple(_results(policies, wanted, watcher))


def _results(
    policies: LoadedPolicySet, wanted: re.Pattern[str] | None, watcher: EngineWatcher | None
) -> Iterator[RegoTestResult]:
    modules, rules = separate_tests((*policies.modules, *policies.tests))
    engine = _engine(modules, policies.data_json, watcher)
    for rule in rules:
        if wanted is not None and not wanted.search(rule.name.partition("#")[0]):
            continue
        if rule.todo:
            yield RegoTestResult(rule.file, rule.name, True, line=rule.line, skipped=True)
            continue
        started = time.perf_counter()
        passed, detail, panicked = _verdict(engine, rule)
        seconds = time.perf_counter() - started
        yield RegoTestResult(rule.file, rule.name, passed, detail, rule.line, seconds=seconds)
        if panicked:
            if watcher:
                watcher.end(engine)
            engine = _engine(modules, policies.data_json, watcher)
    if watcher:
        watcher.end(engine)


def _engine(modules: tuple[Module, ...], data_json: str, watcher: EngineWatcher | None) -> Any:
    engine = new_engine(modules, data_json)
    if watcher:
        watcher.begin(engine)
    return engine


def _verdict(engine: Any, rule: RegoTestRule) -> tuple[bool, str, bool]:
    """Return whether a test passes, why not, and whether the engine panicked over it."""
    if rule.cases and not rule.names:
        # A case that fails would be missing, and the test would pass.
        return False, "its cases cannot be told: give it one key, that 'some … in' or ':=' binds in the body", False
    try:
        value = evaluate(engine, rule.rule, None)
        names = evaluate(engine, rule.names, None) if rule.cases else None
    except RegoError as error:
        return False, str(error), isinstance(error, EnginePanicError)
    if rule.cases and value is not None:
        cases = [name if isinstance(name, str) else orjson.dumps(name).decode() for name in names or ()]
        failed = [case for case in dict.fromkeys([*cases, *value]) if not _true(value.get(case))]
        return not failed, f"cases that fail: {', '.join(failed)}" if failed else "", False
    if value is True or (rule.case and _true(value)):
        return True, "", False
    return False, "undefined" if value is None else orjson.dumps(value).decode(), False


def _true(value: Any) -> bool:
    """Whether the value of a case is true, or holds further cases that all are."""
    return value is True or (isinstance(value, dict) and bool(value) and all(map(_true, value.values())))
