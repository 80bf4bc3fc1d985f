"""What is found to be read of the input is all that the real OPA reads, too."""

import json
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway.authorization.input_paths import InputPaths, input_paths
from gateway.authorization.policy_set import load_policy_set
from tests.unit.authorization.conftest import STARTER, call
from tests.unit.authorization.test_input_paths import HELPERS, READS, WHOLE, policies

pytestmark = pytest.mark.interop

ROOT = Path(__file__).resolve().parents[2]
KEYS = ("a", "b", "c", "d", "e", "h", "o", "one", "two", "three", "four", "five", "six", "0", "a.b", "input")
INPUTS = 3_000


def evaluated(query: str, inputs: list[Any], directory: Path, *data: str) -> list[Any]:
    """Return what OPA gives for each input."""
    opa = shutil.which("opa", path=f"{ROOT / '.interop' / 'bin'}:{os.environ['PATH']}")
    if opa is None:
        pytest.fail("opa is not installed; deploy/interop.sh installs it")
    path = directory / "input.json"
    path.write_text(json.dumps({"inputs": inputs}))
    each = f"[v | some i in input.inputs; v := {{x | x := {query} with input as i}}]"
    command = [opa, "eval", *data, "--input", str(path), "--format=json", each]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    found: list[Any] = json.loads(done.stdout)["result"][0]["expressions"][0]["value"]
    return found


def compare(read: InputPaths, query: str, inputs: list[Any], directory: Path, *data: str) -> int:
    """Check that OPA gives the same for each input and for what is read of it; return how many values differ."""
    reduced = [read.reduce(policy_input) for policy_input in inputs]
    answers = evaluated(query, inputs, directory, *data)
    assert len(answers) == len(inputs)
    assert sum(before != after for before, after in zip(inputs, reduced, strict=True)) > len(inputs) / 4
    assert evaluated(query, reduced, directory, *data) == answers
    return len({json.dumps(answer) for answer in answers})


def test_opa_reads_nothing_else_of_rules_of_every_form(tmp_path: Path) -> None:
    expressions = [expression for expression, read in READS.items() if read != WHOLE]
    rules = "".join(f"r{number} := {{x | x := {each}}}\n" for number, each in enumerate(expressions))
    everything = ", ".join(f"r{number}" for number in range(len(expressions)))
    helpers = HELPERS.replace("import input.d as dee\nimport input.e\n", "dee := input.d\ne := input.e\n")
    modules = f"package p\n{helpers}{rules}all := [{everything}]\n", "package other\nvalue := input.o\n"
    for number, text in enumerate(modules):
        (tmp_path / f"m{number}.rego").write_text(text)
    source = random.Random(11)  # noqa: S311 - test data
    inputs = [_object(source, 4) for _ in range(INPUTS)]
    files = [argument for number in range(2) for argument in ("--data", str(tmp_path / f"m{number}.rego"))]
    assert compare(input_paths(policies(*modules)), "data.p.all", inputs, tmp_path, *files) > INPUTS / 4


def test_opa_reads_nothing_else_for_the_starter_policies(tmp_path: Path) -> None:
    source = random.Random(12)  # noqa: S311 - test data
    inputs = []
    for _ in range(INPUTS):
        document = call(action=source.choice(["model.infer", "model.list", "admin.status.read"]))
        document[source.choice(list(document))] = _value(source, 2)
        for part in source.sample(list(document), 2):
            if isinstance(document[part], dict) and document[part]:
                document[part].pop(source.choice(list(document[part])))
        inputs.append(document)
    read = input_paths(load_policy_set(STARTER))
    assert compare(read, "data.govgateway.authz.decision", inputs, tmp_path, "--bundle", str(STARTER)) > 3


def _object(source: random.Random, depth: int) -> dict[str, Any]:
    return {key: _value(source, depth - 1) for key in source.sample(KEYS, source.randrange(9))}


def _value(source: random.Random, depth: int) -> Any:
    kind = source.randrange(4) if depth else 0
    if kind == 1:
        return [_value(source, depth - 1) for _ in range(source.randrange(3))]
    if kind > 1:
        return _object(source, depth)
    return source.choice([None, True, False, 0, 1, 2, "a", "b", "0"])
