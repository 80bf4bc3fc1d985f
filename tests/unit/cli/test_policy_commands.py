"""govctl policy explain, who-can and matrix; what check and test do with an inventory and with OPA as the engine."""

import copy
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from audit.log import append_once
from audit.store import SqliteStore
from gateway.clock import system_clock
from tests.support.call_records import call_fields
from tests.unit.authorization.conftest import call
from tests.unit.cli.conftest import TD, Govctl

AGENT = f"spiffe://{TD}/agent/a"
NEEDS_OPA = '\nobjections contains "shouting" if "SHOUT" == upper(input.resource.id)\n'

Record = Callable[..., str]


@pytest.fixture
def agent(govctl: Govctl) -> str:
    govctl("agent", "register", AGENT, "--team", "research", "--owner", "ada@x.test", "--purpose", "a test")
    return AGENT


@pytest.fixture
def record(govctl: Govctl) -> Record:
    """Write a record of a call, and return its id."""

    def write(record_type: str, policy_input: dict[str, Any], **fields: Any) -> str:
        store = SqliteStore(govctl.directory / "state" / "audit", "example.org/audit")
        fields = call_fields(record_type, AGENT, policy_input, **fields)
        linked = append_once(store, "w0", record_type, fields, system_clock)
        return str(json.loads(linked.record)["event_id"])

    return write


def asked(**changes: Any) -> dict[str, Any]:
    """Return the input of a call that the policies of `govctl init` allow, with the parts changed."""
    document = call(**changes)
    document["principal"]["id"] = AGENT
    return document


def denied(reasons: list[str], **fields: Any) -> dict[str, Any]:
    return {"decision": "deny", "reasons": reasons, "problem": "policy-denied", "status": 403} | fields


def decided_by_opa(govctl: Govctl, rule: str = "") -> None:
    """Have the configuration name OPA as the engine, and add a rule to the policies."""
    path = govctl.directory / "govgateway.yaml"
    document = yaml.safe_load(path.read_text())
    document.setdefault("policy", {}).update({"engine": "opa", "opa": {"executable": "/usr/bin/opa"}})
    path.write_text(yaml.safe_dump(document))
    rules = govctl.directory / "policies" / "govgateway" / "authz" / "agent.rego"
    rules.write_text(rules.read_text() + rule)


def bind(govctl: Govctl, text: str) -> None:
    path = govctl.directory / "policies" / "govgateway" / "bindings" / "data.yaml"
    path.write_text(path.read_text() + text)


class TestExplainRecorded:
    def test_a_refused_call_is_explained_with_rule_data_and_what_would_allow_it(
        self, govctl: Govctl, record: Record
    ) -> None:
        refused = record("access.denied", asked(principal={"status": "suspended"}), **denied(["agent_not_active"]))
        shown = govctl("policy", "explain", "--request", refused).out
        assert "agent_not_active: This agent is not active.  [govgateway/authz/agent.rego:3]" in shown
        assert "Ask the agent's owner to have it activated." in shown
        assert "role chat-user: model.infer on example-*" in shown
        assert "system assistant: risk limited, data internal" in shown
        assert "- have the agent activated" in shown
        assert "under revision before: deny (agent_not_active)" in shown
        assert "has changed" not in shown
        document = govctl("policy", "explain", "--request", refused, "--json").json
        assert document["differs"] is False
        assert document["recorded"]["policy"]["revision"] == "before"
        assert document["changes"] == [["have the agent activated"]]

    def test_roles_are_those_of_now_and_the_difference_is_told(self, govctl: Govctl, record: Record) -> None:
        document = asked(principal={"roles": [], "team": "newcomers"})
        refused = record("access.denied", document, **denied(["model_not_granted"]))
        assert govctl("policy", "explain", "--request", refused, "--json").json["differs"] is False
        bind(govctl, "team:newcomers: [chat-user]\n")
        shown = govctl("policy", "explain", "--request", refused)
        assert "example-chat: allowed" in shown.out
        assert f"The roles of {AGENT} were none; now chat-user." in shown.out
        assert "The decision has changed since." in shown.out
        again = govctl("policy", "explain", "--request", refused, "--json").json
        assert (again["differs"], again["decision"]["allow"]) == (True, True)
        assert again["recorded"]["decision"] == "deny"

    def test_other_reasons_for_the_same_verdict_are_a_difference(self, govctl: Govctl, record: Record) -> None:
        refused = record("access.denied", asked(principal={"status": "suspended"}), **denied(["gone_since"]))
        assert govctl("policy", "explain", "--request", refused, "--json").json["differs"] is True

    def test_a_call_that_something_else_refused_is_told_as_that(self, govctl: Govctl, record: Record) -> None:
        fields = denied(["quota_exceeded"], problem="quota-exceeded", status=429)
        refused = record("access.denied", asked(), **fields)
        shown = govctl("policy", "explain", "--request", refused).out
        assert "example-chat: allowed" in shown
        assert "The policies did not refuse it then" in shown
        assert "has changed" not in shown

    def test_an_allowed_call_is_explained(self, govctl: Govctl, record: Record) -> None:
        allowed = record("access.intent", asked(), decision="allow")
        document = govctl("policy", "explain", "--request", allowed, "--json").json
        assert document["decision"]["allow"] is True
        assert document["differs"] is False

    def test_the_link_that_refuses_a_delegated_call_is_named(self, govctl: Govctl, record: Record) -> None:
        behind = copy.deepcopy(asked(principal={"status": "suspended"}))
        behind["principal"]["id"] = f"spiffe://{TD}/agent/behind"
        refused = record("access.denied", asked(), delegated_inputs=[behind], **denied(["agent_not_active"]))
        shown = govctl("policy", "explain", "--request", refused).out
        first, second = shown.split("Link 1 of the chain")
        assert "allowed" in first
        assert f"{TD}/agent/behind model.infer example-chat: denied" in second

    def test_a_call_that_was_refused_before_the_policies_has_nothing_to_explain(
        self, govctl: Govctl, record: Record
    ) -> None:
        refused = record("access.denied", {}, **denied(["unknown_agent"], problem="identity-refused"))
        assert (
            "was not decided by the policies: unknown_agent"
            in govctl("policy", "explain", "--request", refused, code=1).err
        )


class TestExplainInput:
    def test_a_file_or_standard_input_is_explained(self, govctl: Govctl, monkeypatch: pytest.MonkeyPatch) -> None:
        text = json.dumps(asked(resource={"id": "other"}))
        Path("input.json").write_text(text)
        from_file = govctl("policy", "explain", "--input", "input.json", "--json").json
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        assert govctl("policy", "explain", "--input", "-", "--json").json == from_file
        assert from_file["recorded"] is None
        assert ["use the model example-chat instead"] in from_file["changes"]

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("{", "is not JSON"),
            ("[]", "a policy input is an object"),
            ("{}", "a policy input is an object"),
            (json.dumps({**call(), "principal": "x"}), "'principal' of the policy input"),
            (json.dumps({**call(), "resource": "x"}), "'resource' of the policy input"),
            (json.dumps(call(principal={"roles": "x"})), "'principal.roles' of the policy input"),
        ],
    )
    def test_what_is_no_input_is_an_error(self, govctl: Govctl, text: str, told: str) -> None:
        Path("input.json").write_text(text)
        assert told in govctl("policy", "explain", "--input", "input.json", code=1).err

    @pytest.mark.parametrize("part", ["request", "context"])
    def test_an_input_without_a_part_gets_the_decision_that_the_gateway_would_give(
        self, govctl: Govctl, part: str
    ) -> None:
        document = asked()
        del document[part]
        Path("input.json").write_text(json.dumps(document))
        assert "links" in govctl("policy", "explain", "--input", "input.json", "--json").json

    def test_a_file_that_is_not_there_is_an_error(self, govctl: Govctl) -> None:
        assert "nowhere.json cannot be read" in govctl("policy", "explain", "--input", "nowhere.json", code=1).err

    def test_a_prohibited_practice_is_told_as_such(self, govctl: Govctl) -> None:
        resource = {"system": "scoring", "risk": "prohibited", "data_classes": ["personal"]}
        Path("input.json").write_text(json.dumps(asked(resource=resource)))
        shown = govctl("policy", "explain", "--input", "input.json").out
        assert "prohibited practice: no role and no other change allows this call" in shown
        assert "would allow it:" not in shown

    def test_nothing_that_somebody_chose_moves_the_cursor(self, govctl: Govctl) -> None:
        evil = "\x1b[2Jx\nREADY"
        document = asked(resource={"id": evil, "region": evil}, principal={"roles": [evil], "status": evil})
        document["request"]["data_classes"] = [evil, "personal"]
        Path("input.json").write_text(json.dumps(document))
        shown = govctl("policy", "explain", "--input", "input.json").out
        assert "\x1b" not in shown
        assert not any(line.startswith("READY") for line in shown.splitlines())


class TestWithOpaAsTheEngine:
    def test_policies_on_which_both_agree_are_decided_here(self, govctl: Govctl, agent: str) -> None:
        decided_by_opa(govctl)
        assert govctl("policy", "who-can", "model.infer", "example-chat", "--json").json[0]["allow"] is True

    def test_where_they_may_differ_no_answer_is_given(self, govctl: Govctl, agent: str) -> None:
        decided_by_opa(govctl, NEEDS_OPA)
        told = "The gateway decides with OPA; this command decides by itself, and could differ"
        for command in (("who-can", "model.infer", "x"), ("what-can", agent), ("matrix",)):
            error = govctl("policy", *command, code=1).err
            assert told in error
            assert "upper" in error
        assert told in govctl("policy", "explain", "--principal", agent, code=1).err

    def test_check_and_test_take_what_the_configured_engine_takes(self, govctl: Govctl) -> None:
        decided_by_opa(govctl, NEEDS_OPA)
        reasons = govctl.directory / "policies" / "govgateway" / "reasons" / "data.yaml"
        reasons.write_text(reasons.read_text() + "\nshouting: {message: Too loud.}\n")
        assert govctl("policy", "check", "--json").json["errors"] == 0
        assert govctl("policy", "test", "--json").json
        assert "upper" in govctl("policy", "check", "policies", "--json", code=1).out
        assert govctl("policy", "check", "policies", "--engine", "opa", "--json").json["errors"] == 0
        assert govctl("policy", "test", "policies", "--engine", "opa", "--json").json
        assert "upper" in govctl("policy", "test", "policies", code=1).err


class TestAccess:
    def test_an_action_that_does_not_exist_is_told_with_the_nearest(self, govctl: Govctl) -> None:
        assert "did you mean 'model.infer'?" in govctl("policy", "who-can", "model.infr", "x", code=2).err

    def test_what_somebody_can_on_a_pattern_is_told_by_the_pattern(self, govctl: Govctl, agent: str) -> None:
        bind(govctl, f"{agent}: [delegate]\n")
        found = {(each["action"], each["resource"]) for each in govctl("policy", "what-can", agent, "--json").json}
        assert ("identity.exchange", "*") in found
        assert ("identity.renew", "/v1/svid") in found

    def test_the_matrix_goes_to_a_file_in_each_form_but_the_terminals(self, govctl: Govctl, agent: str) -> None:
        for form in ("csv", "html", "json"):
            govctl("policy", "matrix", "--format", form, "--out", f"matrix.{form}")
        document = json.loads(Path("matrix.json").read_text())
        assert document["revision"] in Path("matrix.html").read_text()
        assert document["answers"][0]["principal"] == agent
        assert next(csv.DictReader(io.StringIO(Path("matrix.csv").read_text())))["principal"] == agent
        assert document == {**govctl("policy", "matrix", "--format", "json").json, "time": document["time"]}
        assert "--format" in govctl("policy", "matrix", "--out", "matrix.txt", code=2).err
        assert "cannot be written" in govctl("policy", "matrix", "--format", "csv", "--out", "no/x.csv", code=1).err


class TestCheckWithAnInventory:
    def test_a_binding_that_the_team_has_anyway_is_a_remark(self, govctl: Govctl, agent: str) -> None:
        bind(govctl, f"{agent}: [chat-user, embedding-user]\nkind:agent: [embedding-user]\n")
        findings = [
            each for each in govctl("policy", "check", "--json").json["findings"] if each["rule"] == "inherited-binding"
        ]
        assert [each["severity"] for each in findings] == ["info", "info"]
        assert "through team:research" in findings[0]["message"]
        assert "through kind:agent" in findings[1]["message"]
        lines = (govctl.directory / "policies" / findings[0]["file"]).read_text().splitlines()
        assert lines[findings[0]["line"] - 1].startswith(agent)
        elsewhere = govctl("policy", "check", "policies", "--json").json["findings"]
        assert not any(each["rule"] == "inherited-binding" for each in elsewhere)

    def test_a_check_makes_no_inventory(self, govctl: Govctl) -> None:
        path = govctl.directory / "state" / "registry.sqlite"
        path.unlink(missing_ok=True)
        govctl("policy", "check")
        assert not path.exists()
