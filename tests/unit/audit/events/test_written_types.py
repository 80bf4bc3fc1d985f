"""What the code writes is defined and said to be written, and nothing else is."""

import ast
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.events import EVENTS
from audit.log import AuditLog, append_once
from audit.store import SqliteStore

ROOT = Path(__file__).resolve().parents[4]
WRITERS = {"append", "append_once", "link", "record", "_record", "_note", "_refusals", "Correction"}
"""Names of the functions that are given a record type and its fields."""

TYPE = re.compile(r"(?!(?:segment|hold|deletion)\.)[a-z_]+\.[a-z_]+")
"""A record type; entries of the retention's journal, which is no chain, have names of the same form."""

CONSTANTS = {"ACTIVATED": "policy.activated", "FAILED": "policy.activation_failed"}
AUTHORITY_ACTIONS = ("prepared", "activated", "tainted", "revoked", "expired", "failed")


def written_types() -> Iterator[str]:
    for package in ("audit", "gateway", "identity", "compliance"):
        for path in (ROOT / package).rglob("*.py"):
            if path.is_relative_to(ROOT / "audit" / "events"):
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Call():
                        yield from _types(node)
                    case ast.AnnAssign(
                        target=ast.Name(id="type"), annotation=ast.Subscript(), value=ast.Constant(value=str(text))
                    ) if TYPE.fullmatch(text):
                        yield text  # the type that a class of events is reported as


def _types(call: ast.Call) -> Iterator[str]:
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name not in WRITERS:
        return
    arguments = [each for argument in call.args for each in _either(argument)]
    for argument in arguments:
        match argument:
            case ast.Constant(value=str(text)) if TYPE.fullmatch(text):
                yield text
            case ast.JoinedStr(values=[ast.Constant(value="authority."), _]):
                yield from (f"authority.{action}" for action in AUTHORITY_ACTIONS)
            case ast.Name(id=constant) if constant in CONSTANTS:
                yield CONSTANTS[constant]


def _either(argument: ast.expr) -> tuple[ast.expr, ...]:
    return (argument.body, argument.orelse) if isinstance(argument, ast.IfExp) else (argument,)


def test_what_the_code_writes_is_what_the_definitions_say_is_written() -> None:
    assert set(written_types()) == {event.type for event in EVENTS.values() if event.written}


async def test_a_wrong_record_fails_the_test_that_wrote_it(tmp_path: Path, wrong_records: list[str]) -> None:
    store = SqliteStore(tmp_path, "example.org/audit")
    append_once(store, "govctl", "gateway.stopped", {"status": "0"}, time.time_ns)
    log = AuditLog(store, "chain", digest_key=b"k" * 32, clock=time.time_ns)
    await log.append("gateway.unheard_of", {}).durable()
    await log.append("test.invented", {"anything": True}).durable()
    await log.close()
    assert [problem.partition(": ")[0] for problem in wrong_records] == ["gateway.stopped", "gateway.unheard_of"]
    wrong_records.clear()


@pytest.mark.parametrize("action", AUTHORITY_ACTIONS)
def test_every_step_of_an_authority_is_defined(action: str) -> None:
    assert f"authority.{action}" in EVENTS
