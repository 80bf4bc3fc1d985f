"""Runs the Rego tests beside the policies in the engine that decides, with the verdicts of `opa test`."""

from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from gateway.authorization.policy_set import LoadedPolicySet
from gateway.authorization.rego import EnginePanicError, Module, RegoError, evaluate, new_engine
from gateway.authorization.rego_ast import find_test_rules


@dataclass(frozen=True, slots=True)
class RegoTestResult:
    """The verdict on one test rule.

    Attributes:
        file: file of the test, relative to the policy directory.
        name: full name of the rule, for instance `data.govgateway.authz_test.test_default_deny`.
        passed: whether the rule is true.
        detail: why it did not pass; empty if it did.
    """

    file: str
    name: str
    passed: bool
    detail: str = ""


def run_rego_tests(policies: LoadedPolicySet) -> tuple[RegoTestResult, ...]:
    """Evaluate every rule whose name starts with `test_`, in the order of the files.

    A rule passes if it is true. Anything else fails it: false, undefined, another value, an error.
    """
    return tuple(_results(policies))


def _results(policies: LoadedPolicySet) -> Iterator[RegoTestResult]:
    modules: tuple[Module, ...] = (*policies.modules, *policies.tests)
    engine = new_engine(modules, policies.data_json)
    for file, name in find_test_rules(engine):
        try:
            value = evaluate(engine, name, "{}")
        except RegoError as error:
            if isinstance(error, EnginePanicError):
                engine = new_engine(modules, policies.data_json)
            yield RegoTestResult(file, name, False, str(error))
            continue
        detail = "" if value is True else "undefined" if value is None else orjson.dumps(value).decode()
        yield RegoTestResult(file, name, value is True, detail)
