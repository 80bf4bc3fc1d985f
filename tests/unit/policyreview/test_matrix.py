"""Who may do what: as the engine decides, and safe to open wherever it is opened."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.policy_set import load_policy_set
from gateway.config import load_config
from gateway.policyreview.access import Accesses
from gateway.policyreview.matrix import matrix_csv, matrix_html
from gateway.policyreview.questions import Questions
from gateway.starter import starter_policies
from identity.registry import Agent, RegistrySnapshot
from identity.registry.snapshot import Refusals
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
REVOKED = AGENTS[0].id


def inventory(*, refusals: Refusals | None = None) -> RegistrySnapshot:
    known = {each.id: each for each in AGENTS}
    return RegistrySnapshot(1, known, refusals or Refusals(), anything_revoked=refusals is not None)


@pytest.fixture
def accesses(govctl: Govctl) -> Accesses:  # noqa: F811 - the fixture
    return Accesses(
        Questions(load_config(Path("govgateway.yaml")), load_policy_set(starter_policies()), NOW), inventory()
    )


def test_the_matrix_is_what_the_engine_decides_for_each(accesses):
    engine = EmbeddedEngine(accesses.questions.policies)
    rows = list(accesses.matrix(AGENTS))
    assert [row[0].principal.id[-1] for row in rows] == ["a", "b", "c", "d", "e"]
    for row in rows:
        for each, (model, action) in zip(row, accesses.columns(), strict=True):
            asked = accesses.questions.ask(each.principal, action, model)
            assert each.decision == engine.decide_now(asked)
    assert rows[0][0].decision.allow
    assert rows[0][0].how == "at most 2048 tokens, answer marked as made by AI"
    assert not rows[1][0].decision.allow


def test_who_can_puts_those_who_may_first_and_says_why_others_may_not(accesses):
    found = accesses.who_can(AGENTS, "model.infer", "example-chat")
    assert [each.allow for each in found] == [True, False, False, False, False]
    reasons = {each.principal.id[-1]: each.decision.reasons for each in found}
    assert reasons["c"] == ("agent_not_active",)
    assert reasons["b"] == ("model_not_granted",)
    admins = accesses.who_can(AGENTS, "admin.policy.activate", "/v1/policy/activate")
    assert [each.principal.id[-1] for each in admins if each.decision.allow] == ["d"]


def test_what_can_names_models_and_whatever_else_the_roles_do(accesses):
    found = {(each.action, each.resource): each.decision.allow for each in accesses.what_can(AGENTS[3])}
    assert found["model.infer", "example-chat"] is False
    assert found["admin.config.reload", "*"] is True


def test_what_can_asks_for_the_list_of_models_as_the_gateway_does(accesses):
    found = {(each.action, each.resource): each.allow for each in accesses.what_can(AGENTS[0])}
    assert found["model.list", ""] is True


def test_whoever_the_gateway_does_not_hear_may_nothing_though_the_policies_would_allow_it(accesses):
    revoked = Accesses(accesses.questions, inventory(refusals=Refusals(ids={REVOKED: "the key leaked"})))
    (found,) = revoked.who_can(AGENTS[:1], "model.infer", "example-chat")
    assert found.decision.allow
    assert not found.allow
    assert found.how == "identity-revoked"
    document = found.document()
    assert (document["allow"], document["refused"], document["reasons"]) == (False, "identity-revoked", [])
    row = next(revoked.matrix(AGENTS[:1]))
    assert not any(each.allow for each in row)
    (line,) = list(csv.DictReader(io.StringIO(matrix_csv([row], revoked.columns()))))
    assert line["model.infer example-chat"] == "no: identity-revoked"
    assert 'class="yes"' not in matrix_html([row], revoked.columns(), "r", "d", "now")
    assert Accesses(accesses.questions, inventory()).of(AGENTS[0], "model.infer", "example-chat").allow


def test_an_agent_that_is_not_active_may_nothing_whatever_the_policies_say(accesses):
    careless = replace(AGENTS[2], status="active")  # the input says so, the inventory does not
    found = accesses.of(careless, "model.infer", "example-chat")
    assert found.decision.allow
    assert (found.allow, found.how) == (False, "identity-suspended")


def test_obligations_are_told_in_words(accesses):
    region = {"type": "route_region", "region": "eu-west"}
    allowed = accesses.of(AGENTS[0], "model.infer", "example-chat")
    routed = replace(allowed.decision, obligations=(*allowed.decision.obligations, region), reasons=("break_glass",))
    said = "at most 2048 tokens, answer marked as made by AI, in the region eu-west, break_glass"
    assert replace(allowed, decision=routed).how == said


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", "  =1", "\uff1d1", "\uff20x"])
def test_no_text_that_somebody_chose_begins_a_formula(accesses, text):
    who = replace(AGENTS[0], owner=text, team=text)
    row = [accesses.of(who, action, model) for model, action in accesses.columns()]
    (line,) = list(csv.DictReader(io.StringIO(matrix_csv([row], accesses.columns()))))
    for cell in (line["owner"], line["team"]):
        assert cell[0] in "'\\"


def test_two_long_names_that_differ_at_the_end_stay_apart(accesses):
    long = [replace(AGENTS[0], id=f"{AGENTS[0].id}/{'x' * 200}/{end}") for end in "ab"]
    known = RegistrySnapshot(1, {each.id: each for each in long})
    rows = list(Accesses(accesses.questions, known).matrix(long))
    page = matrix_html(rows, accesses.columns(), "r", "d", "now")
    table = matrix_csv(rows, accesses.columns())
    assert all(each.id in page and each.id in table for each in long)


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
