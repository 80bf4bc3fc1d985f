"""Who may do what: as the engine decides, and safe to open wherever it is opened."""

import csv
import io
from pathlib import Path

import pytest

from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.policy_set import load_policy_set
from gateway.config import load_config
from gateway.policyreview.access import Accesses
from gateway.policyreview.matrix import matrix_csv, matrix_html
from gateway.policyreview.questions import Questions
from gateway.starter import starter_policies
from identity.registry import Agent
from tests.unit.cli.conftest import TD, Govctl, govctl  # noqa: F401 - a fixture

NOW = 1_796_000_000
EVIL = "=cmd|'/c calc'!A1<script>alert(1)</script>\x1b[2J"


def agent(name: str, **fields: str) -> Agent:
    given = {"kind": "agent", "team": "research", "owner": "ada", "status": "active", "risk_tier": "limited", **fields}
    return Agent(id=f"spiffe://{TD}/{name}", attributes={}, **given)


AGENTS = [
    agent("a"),
    agent("b", team="nobody"),
    agent("c", status="suspended"),
    agent("d", team="platform", kind="human"),
    agent("e", owner=EVIL, team=EVIL),
]


@pytest.fixture
def accesses(govctl: Govctl) -> Accesses:  # noqa: F811 - the fixture
    return Accesses(Questions(load_config(Path("govgateway.yaml")), load_policy_set(starter_policies()), NOW))


def test_the_matrix_is_what_the_engine_decides_for_each(accesses):
    engine = EmbeddedEngine(accesses.questions.policies)
    rows = list(accesses.matrix(AGENTS))
    assert [row[0].principal.id[-1] for row in rows] == ["a", "b", "c", "d", "e"]
    for row in rows:
        for each, (model, action) in zip(row, accesses.columns(), strict=True):
            asked = accesses.questions.ask(each.principal, action, model)
            assert each.decision == engine.decide_now(asked)
    assert rows[0][0].decision.allow
    assert rows[0][0].bound == 2048
    assert not rows[1][0].decision.allow


def test_who_can_puts_those_who_may_first_and_says_why_others_may_not(accesses):
    found = accesses.who_can(AGENTS, "model.infer", "example-chat")
    assert [each.decision.allow for each in found] == [True, False, False, False, False]
    reasons = {each.principal.id[-1]: each.decision.reasons for each in found}
    assert reasons["c"] == ("agent_not_active",)
    assert reasons["b"] == ("model_not_granted",)
    admins = accesses.who_can(AGENTS, "admin.policy.activate", "/v1/policy/activate")
    assert [each.principal.id[-1] for each in admins if each.decision.allow] == ["d"]


def test_what_can_names_models_and_whatever_else_the_roles_do(accesses):
    found = {(each.action, each.resource): each.decision.allow for each in accesses.what_can(AGENTS[3])}
    assert found["model.infer", "example-chat"] is False
    assert found["admin.config.reload", "*"] is True


def test_csv_holds_no_formula_and_html_no_script(accesses):
    rows, columns = list(accesses.matrix(AGENTS)), accesses.columns()
    table = list(csv.reader(io.StringIO(matrix_csv(rows, columns))))
    assert len(table) == len(AGENTS) + 1
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for line in table for cell in line)
    assert "\x1b" not in matrix_csv(rows, columns)
    page = matrix_html(rows, columns, "<b>r</b>", "d", "now")
    assert "<script" not in page
    assert "<b>" not in page
    assert "\x1b" not in page
    assert "default-src 'none'" in page


def test_the_commands(govctl: Govctl, tmp_path: Path):  # noqa: F811 - the fixture
    who = f"spiffe://{TD}/agent/a"
    govctl("agent", "register", who, "--team", "research", "--owner", "ada@x.test", "--purpose", "a test")
    assert govctl("policy", "who-can", "model.infer", "example-chat", "--json").json[0]["allow"] is True
    assert govctl("policy", "what-can", who, "--json").json[0]["action"] == "model.infer"
    assert "yes" in govctl("policy", "matrix").out
    govctl("policy", "matrix", "--format", "html", "--out", str(tmp_path / "m.html"))
    assert who in (tmp_path / "m.html").read_text()
    assert govctl("policy", "matrix", "--format", "csv").out.startswith("principal,")
    shown = govctl("policy", "explain", "--principal", who, "--resource", "nothing", "--json").json
    assert shown["links"][0]["decision"]["allow"] is False
    told = govctl("policy", "explain", "--principal", who, "--resource", "example-chat").out
    assert "allowed" in told
    assert "chat-user" in told
    assert "say which call" in govctl("policy", "explain", code=2).err
    assert "not registered" in govctl("policy", "what-can", f"spiffe://{TD}/nobody", code=1).err
    assert "no record" in govctl("policy", "explain", "--request", "x", code=1).err
