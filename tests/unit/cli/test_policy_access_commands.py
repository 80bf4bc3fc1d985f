"""What explain suggests is done, to the files and the inventory; and who may what, as it would be answered."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.app import build_runtime, configured_policies
from gateway.config import load_config
from gateway.deciding import input_for
from gateway.policyreview.questions import Questions
from gateway.protocols.base import Call
from identity.registry import Agent
from tests.unit.cli.conftest import TD, Govctl

AGENT = f"spiffe://{TD}/agent/a"
CHAT = "example-chat"

Step = Callable[[Govctl], object]


def edited(path: str, change: Callable[[dict[str, Any]], object]) -> Step:
    """Return a step that changes a file of YAML."""

    def do(govctl: Govctl) -> None:
        file = govctl.directory / path
        document = yaml.safe_load(file.read_text())
        change(document)
        file.write_text(json.dumps(document))  # YAML as well, and without aliases

    return do


def table(name: str, change: Callable[[dict[str, Any]], object]) -> Step:
    return edited(f"policies/govgateway/{name}/data.yaml", change)


def configured(change: Callable[[dict[str, Any]], object]) -> Step:
    return edited("govgateway.yaml", change)


def run(*arguments: str) -> Step:
    return lambda govctl: govctl(*arguments)


def standing(verb: str) -> Step:
    return run("agent", verb, AGENT, "--reason", "a test")


def serving(system: str) -> Step:
    return configured(lambda document: document["models"][0].update(system=system))


def located(region: str) -> Step:
    return configured(lambda document: document["backends"][0].update(region=region))


def entered(system: str, **entry: Any) -> Step:
    return table("systems", lambda systems: systems.setdefault(system, {}).update(entry))


def bound(subject: str, *roles: str) -> Step:
    return table("bindings", lambda bindings: bindings.update({subject: list(roles)}))


def tier(name: str) -> Step:
    return run("agent", "update", AGENT, "--risk-tier", name)


@dataclass(frozen=True)
class Case:
    """A denial: how it comes to be, what is suggested, and how that is done."""

    before: tuple[Step, ...]
    suggested: tuple[str, ...]
    done: tuple[Step, ...]
    asked: str = CHAT
    asked_then: str = CHAT


BARE = {"risk": "high", "data_classes": [], "oversight": {"overseers": ["ada"]}}
SCREENING = {**BARE, "instructions_for_use": "a link"}
PERSONAL = entered("assistant", data_classes=["internal", "personal"])
CASES = {
    "no role": Case(
        (run("agent", "update", AGENT, "--team", "newcomers"),),
        ("bind the role chat-user to the agent or its team",),
        (bound("team:newcomers", "chat-user"),),
    ),
    "suspended": Case((standing("suspend"),), ("have the agent activated",), (standing("activate"),)),
    "quarantined": Case(
        (standing("quarantine"),),
        ("have the agent taken out of quarantine and activated",),
        (standing("suspend"), standing("activate")),
    ),
    "risk tier": Case(
        (entered("screening", **SCREENING), serving("screening")),
        ("register the agent for the risk tier high",),
        (tier("high"),),
    ),
    "overseer": Case(
        (serving("hiring"), located("local"), tier("high")),
        ("name an overseer of the system hiring",),
        (entered("hiring", oversight={"overseers": ["somebody"]}),),
    ),
    "instructions": Case(
        (entered("screening", **BARE), serving("screening"), tier("high")),
        ("register the instructions for use of the system screening",),
        (entered("screening", instructions_for_use="a link"),),
    ),
    "impact on fundamental rights": Case(
        (
            entered("screening", **SCREENING, annex_iii="employment", deployer="public"),
            serving("screening"),
            tier("high"),
        ),
        ("register the fundamental rights impact assessment of the system screening",),
        (entered("screening", fria="a link"),),
    ),
    "region": Case(
        (PERSONAL, located("us")),
        ("serve the model in the region eu-west",),
        (located("eu-west"),),
    ),
    "class of data": Case(
        (PERSONAL, located("us")),
        ("have the system assistant process no data of the class personal",),
        (entered("assistant", data_classes=["internal"]),),
    ),
    "another model": Case(
        (configured(lambda document: document["models"].append({**document["models"][0], "name": "large"})),),
        ("use the model example-chat instead",),
        (),
        asked="large",
    ),
    "duties kept apart": Case(
        (bound(AGENT, "platform-admin"),),
        ("take the role platform-admin from the agent",),
        (bound(AGENT),),
    ),
    "two things": Case(
        (run("agent", "update", AGENT, "--team", "newcomers"), standing("suspend")),
        ("have the agent activated", "bind the role chat-user to the agent or its team"),
        (bound("team:newcomers", "chat-user"), standing("activate")),
    ),
}


@pytest.fixture
def agent(govctl: Govctl) -> str:
    govctl("agent", "register", AGENT, "--team", "research", "--owner", "ada@x.test", "--purpose", "a test")
    return AGENT


def explained(govctl: Govctl, resource: str = CHAT) -> Any:
    return govctl("policy", "explain", "--principal", AGENT, "--resource", resource, "--json").json


@pytest.mark.parametrize("name", CASES)
def test_a_suggestion_that_is_done_allows_the_call(govctl: Govctl, agent: str, name: str) -> None:
    case = CASES[name]
    for step in case.before:
        step(govctl)
    refused = explained(govctl, case.asked)
    assert refused["decision"]["allow"] is False
    assert list(case.suggested) in refused["changes"]
    for step in case.done:
        step(govctl)
    allowed = explained(govctl, case.asked_then)
    assert (allowed["decision"]["allow"], allowed["refused"], allowed["changes"]) == (True, None, [])


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if len(case.done) == len(case.suggested) == 2])
def test_half_of_a_suggestion_does_not(govctl: Govctl, agent: str, name: str) -> None:
    case = CASES[name]
    for step in (*case.before, case.done[0]):
        step(govctl)
    assert explained(govctl)["decision"]["allow"] is False


def test_a_prohibited_practice_has_no_way_though_another_model_would_be_allowed(govctl: Govctl, agent: str) -> None:
    def add(document: dict[str, Any]) -> None:
        document["models"].append({**document["models"][0], "name": "example-free"})
        document["models"][0]["system"] = "scoring"

    configured(add)(govctl)
    tier("high")(govctl)
    assert explained(govctl, "example-free")["decision"]["allow"] is True
    refused = explained(govctl)
    assert refused["decision"]["reasons"] == ["system_prohibited"]
    assert refused["changes"] == []
    assert "no role and no other change" in govctl("policy", "explain", "--principal", agent, "--resource", CHAT).out


def test_a_retired_agent_has_no_way_back(govctl: Govctl, agent: str) -> None:
    standing("retire")(govctl)
    refused = explained(govctl)
    assert refused["changes"] == []
    assert refused["refused"]["code"] == "identity-retired"


def test_whoever_is_revoked_is_told_so_everywhere(govctl: Govctl, agent: str) -> None:
    govctl("agent", "revoke", "--id", agent, "--reason", "the key leaked")
    told = govctl("policy", "explain", "--principal", agent, "--resource", CHAT).out
    assert "the gateway refuses it before" in told
    assert "the key leaked" in told
    (who,) = govctl("policy", "who-can", "model.infer", CHAT, "--json").json
    assert (who["allow"], who["refused"], who["reasons"]) == (False, "identity-revoked", [])
    assert govctl("policy", "who-can", "model.infer", CHAT, "--allowed-only", "--json").json == []
    assert not any(each["allow"] for each in govctl("policy", "what-can", agent, "--json").json)
    assert not any(each["allow"] for each in govctl("policy", "matrix", "--json").json["answers"])
    assert "yes" not in govctl("policy", "matrix").out
    govctl("agent", "lift", "--id", agent, "--reason", "it did not")
    assert govctl("policy", "who-can", "model.infer", CHAT, "--json").json[0]["allow"] is True


def test_a_call_that_is_bound_to_a_region_is_told_with_it(govctl: Govctl, agent: str) -> None:
    def add(document: dict[str, Any]) -> None:
        first = document["backends"][0]
        document["backends"] = [
            {**first, "region": "eu-west"},
            {**first, "name": "other", "url": "http://127.0.0.1:2/v1", "region": "us"},
        ]
        document["models"][0]["backends"] = ["default", "other"]
        document["context"] = {"region": "eu-west"}

    PERSONAL(govctl)
    configured(add)(govctl)
    for command in (("who-can", "model.infer", CHAT), ("what-can", agent), ("matrix", "--format", "csv")):
        assert "in the region eu-west" in govctl("policy", *command).out


def test_the_matrix_has_one_form(govctl: Govctl, agent: str) -> None:
    assert "exclude each other" in govctl("policy", "matrix", "--json", "--format", "csv", code=2).err
    govctl("policy", "matrix", "--json", "--out", "matrix.json")
    assert AGENT in Path("matrix.json").read_text()


def test_a_question_is_put_to_the_policies_as_the_pipeline_puts_a_call(govctl: Govctl) -> None:
    located("eu-west")(govctl)
    config = load_config(Path("govgateway.yaml"))
    policies, now = configured_policies(config), 1_800_000_000
    agent = Agent(AGENT, "agent", "research", "ada", "active", "limited", attributes={"tier": "gold"})
    for model in (CHAT, "unknown"):
        call = Call("openai", "", "model.infer", "model", model, "")
        made = input_for(agent, (), build_runtime(config, policies), call, now)
        assert Questions(config, policies, now).ask(agent, "model.infer", model) == made
