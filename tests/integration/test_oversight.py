"""Calls that wait for a person: approved they pass once, whichever worker gets them; refused or late they do not."""

import concurrent.futures
import json
import signal
import subprocess
import time
from typing import Any

import httpx
import pytest
import yaml

from tests.support.calls import PATIENCE, chat, eventually, outcome, plain, records
from tests.support.running_gateway import AgentFiles, RunningGateway, govctl

SYSTEMS = {
    "held": {"approval": ["model.infer"]},
    "brief": {"approval": ["model.infer"], "approval_terms": {"valid_seconds": 4}},
    "double": {"approval": ["model.infer"], "approval_terms": {"four_eyes": True}},
    "patient": {"approval": ["model.infer"], "approval_terms": {"wait_seconds": 30}},
    "free": {},
}
MODELS = [f"example-{system}={system}" for system in SYSTEMS]


@pytest.fixture(scope="module")
def gateway(example_backend: str, tmp_path_factory: pytest.TempPathFactory):
    """Two workers, and systems whose calls people approve on different terms."""
    running = RunningGateway(tmp_path_factory.mktemp("oversight") / "home", example_backend, MODELS)
    systems = running.directory / "policies" / "govgateway" / "systems" / "data.yaml"
    known = yaml.safe_load(systems.read_text())
    for name, oversight in SYSTEMS.items():
        known[name] = {"risk": "limited", "data_classes": ["internal"], "oversight": oversight}
    running.edit_data("systems", known)
    roles = yaml.safe_load((running.directory / "policies" / "govgateway" / "roles" / "data.yaml").read_text())
    limited = {
        "actions": ["admin.oversight.read", "admin.oversight.decide", "admin.oversight.stop"],
        "resources": ["/v1/oversight/*", "ai-system:held"],
    }
    running.edit_data("roles", {**roles, "held-overseer": {"kinds": ["human"], "permissions": [limited]}})
    bound = {"team:research": ["chat-user"], "team:oversight": ["overseer"], "team:held": ["held-overseer"]}
    running.edit_data("bindings", bound)
    running.start(workers=2)
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def agent(gateway: RunningGateway) -> AgentFiles:
    return gateway.register("agent/researcher")


@pytest.fixture(scope="module")
def grace(gateway: RunningGateway) -> AgentFiles:
    """A person who may decide."""
    return gateway.register("person/grace", team="oversight", kind="human", owner="grace@gateway.test")


@pytest.fixture(scope="module")
def owner(gateway: RunningGateway) -> AgentFiles:
    """The person who is answerable for the agent, and may decide as well."""
    return gateway.register("person/ada", team="oversight", kind="human", owner="ada@gateway.test")


def ask(gateway: RunningGateway, agent: AgentFiles, system: str, **more: Any) -> httpx.Response:
    # A connection of its own each time, so that either worker may get it.
    with plain(gateway, agent) as client:
        return client.post("/v1/chat/completions", json=chat(f"example-{system}", **more))


def held_back(answer: httpx.Response) -> str:
    """The approval that a refused call is told."""
    assert answer.status_code == 403, answer.text
    error = answer.json()["error"]
    assert error["code"] == "approval_required"
    assert answer.headers["x-should-retry"] == "false"
    approval: str = error["approval"]["id"]
    return approval


def decide(
    gateway: RunningGateway, person: AgentFiles, how: str, approval: str, *, check: bool = True
) -> subprocess.CompletedProcess[str]:
    return govctl(
        gateway.directory, "approve", how, approval, "--reason", "I looked at it",
        "--identity", str(person.directory), check=check,
    )  # fmt: skip


def of_approval(gateway: RunningGateway, approval: str) -> list[dict[str, Any]]:
    found = [each for each in records(gateway, 400) if each.get("approval") == approval]
    return sorted(found, key=lambda each: int(each["time"]))


def test_an_approved_call_passes_once_and_every_step_is_on_record(gateway, agent, grace):
    body = {"user": "once"}
    approval = held_back(ask(gateway, agent, "held", **body))
    assert held_back(ask(gateway, agent, "held", **body)) == approval
    listed = json.loads(govctl(gateway.directory, "approve", "list", "--json").stdout)
    assert approval in [each["approval"] for each in listed]
    said = decide(gateway, grace, "grant", approval).stdout
    assert "may make the call once" in said
    answer = ask(gateway, agent, "held", **body)
    assert answer.status_code == 200, answer.text
    assert held_back(ask(gateway, agent, "held", **body)) != approval
    call = answer.headers["x-request-id"]
    outcome(gateway, call)
    found = of_approval(gateway, approval)
    assert [each["type"] for each in found] == [
        "oversight.requested", "access.denied", "access.denied", "oversight.approved", "access.intent",
        "oversight.used",
    ]  # fmt: skip
    requested, denied, _, approved, intent, used = found
    assert requested["request"] == intent["request"] == denied["request"]
    assert (approved["principal"], approved["agent"], approved["cause"]) == (grace.id, agent.id, "I looked at it")
    assert (used["of"], used["approved_by"], used["system"]) == (call, [grace.id], "held")
    assert intent["event_id"] == call
    assert denied["problem"] == "approval-required"
    shown = govctl(gateway.directory, "approve", "show", approval).stdout
    assert "is used" in shown
    assert f"{grace.id} approved" in shown


def test_an_approval_is_for_this_body_this_model_and_this_caller_alone(gateway, agent, grace):
    approval = held_back(ask(gateway, agent, "held", user="mine"))
    decide(gateway, grace, "grant", approval)
    other = gateway.register("agent/other")
    others = [
        ask(gateway, agent, "held", user="another body"),
        ask(gateway, agent, "double", user="mine"),
        ask(gateway, other, "held", user="mine"),
    ]
    assert approval not in {held_back(answer) for answer in others}
    assert ask(gateway, agent, "held", user="mine").status_code == 200


def test_of_concurrent_retries_one_passes(gateway, agent, grace):
    approval = held_back(ask(gateway, agent, "held", user="race"))
    decide(gateway, grace, "grant", approval)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(gateway, agent, "held", user="race"), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [403] * 7
    used = [each for each in of_approval(gateway, approval) if each["type"] == "oversight.used"]
    assert len(used) == 1


def test_a_refused_call_stays_refused_and_an_approval_can_be_taken_back(gateway, agent, grace):
    for before in ((), ("grant",)):
        body = {"user": f"refused {before}"}
        approval = held_back(ask(gateway, agent, "held", **body))
        for how in (*before, "refuse"):
            decide(gateway, grace, how, approval)
        answer = ask(gateway, agent, "held", **body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "approval_refused")
        late = decide(gateway, grace, "grant", approval, check=False)
        assert late.returncode == 1
        assert "cannot be decided any more" in late.stderr
        refused = of_approval(gateway, approval)[-2]
        assert (refused["type"], refused["withdrawn"]) == ("oversight.refused", bool(before))


def test_an_approval_that_expired_is_worth_nothing(gateway, agent, grace):
    approval = held_back(ask(gateway, agent, "brief"))
    decide(gateway, grace, "grant", approval)
    until = json.loads(govctl(gateway.directory, "approve", "show", approval, "--json").stdout)["expires_at"]
    eventually("it expires", lambda: time.time() > until + 1)
    again = held_back(ask(gateway, agent, "brief"))
    assert again != approval
    eventually("that one expires too", lambda: time.time() > until + 7)
    late = decide(gateway, grace, "grant", again, check=False)
    assert late.returncode == 1
    assert "it has expired" in late.stderr


def test_who_may_not_decide_does_not(gateway, agent, grace):
    approval = held_back(ask(gateway, agent, "held", user="wrong person"))
    machine = gateway.register("service/approver", team="oversight", kind="service")
    nobody = gateway.register("person/nobody", kind="human", owner="nobody@gateway.test")
    for person in (machine, nobody, agent):
        done = decide(gateway, person, "grant", approval, check=False)
        assert done.returncode == 1, person.id
        assert "may not do admin.oversight.decide" in done.stderr
    without = govctl(gateway.directory, "approve", "grant", approval, "--reason", "me", check=False)
    assert without.returncode == 1
    assert "--identity" in without.stderr
    empty = govctl(
        gateway.directory, "approve", "grant", approval, "--reason", " ", "--identity", str(grace.directory),
        check=False,
    )  # fmt: skip
    assert "needs a reason" in empty.stderr
    held_back(ask(gateway, agent, "held", user="wrong person"))


def test_an_overseer_of_one_system_oversees_no_other(gateway, agent, grace):
    linus = gateway.register("person/linus", team="held", kind="human", owner="linus@gateway.test")
    theirs, other = (held_back(ask(gateway, agent, system, user="limited")) for system in ("held", "double"))
    decide(gateway, linus, "grant", theirs)
    assert ask(gateway, agent, "held", user="limited").status_code == 200
    for how in ("grant", "refuse"):
        done = decide(gateway, linus, how, other, check=False)
        assert done.returncode == 1
        assert "may not do admin.oversight.decide to ai-system:double" in done.stderr
    call = ask(gateway, agent, "free").headers["x-request-id"]
    for asked in (
        ("stop", "free"), ("resume", "free"), ("drill", "free"), ("override", call, "--how", "disregarded"),
    ):  # fmt: skip
        done = govctl(
            gateway.directory,
            "oversight",
            *asked,
            "--reason",
            "a test",
            "--identity",
            str(linus.directory),
            check=False,
        )
        assert done.returncode == 1
        assert "to ai-system:free" in done.stderr, asked
    assert ask(gateway, agent, "free").status_code == 200
    refused = [each for each in records(gateway, 400) if each["type"] == "admin.request" and each["decision"] == "deny"]
    about = {each["resource"]["id"] for each in refused if each["principal"] == linus.id}
    assert about == {"ai-system:double", "ai-system:free"}
    assert {each["type"] for each in of_approval(gateway, other)} == {"oversight.requested", "access.denied"}
    decide(gateway, grace, "refuse", other)


def test_nobody_approves_a_call_of_their_own(gateway, grace):
    gateway.edit_data("bindings", {"team:research": ["chat-user"], "team:oversight": ["overseer", "chat-user"]})
    govctl(gateway.directory, "reload")
    approval = held_back(ask(gateway, grace, "held", user="my own"))
    done = decide(gateway, grace, "grant", approval, check=False)
    assert done.returncode == 1
    assert "on their own behalf" in done.stderr


def test_where_two_people_approve_the_owner_alone_does_not_do(gateway, agent, grace, owner):
    approval = held_back(ask(gateway, agent, "double"))
    assert "1 more person" in decide(gateway, owner, "grant", approval).stdout
    held_back(ask(gateway, agent, "double"))
    twice = decide(gateway, owner, "grant", approval, check=False)
    assert "another person has to approve it too" in twice.stderr
    decide(gateway, grace, "grant", approval)
    assert ask(gateway, agent, "double").status_code == 200
    approved = [each for each in of_approval(gateway, approval) if each["type"] == "oversight.approved"]
    assert [each["missing"] for each in approved] == [1, 0]


def test_a_call_that_waits_goes_on_once_it_is_approved(gateway, agent, grace):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, gateway, agent, "patient")
        approval = eventually("it waits", lambda: pending_of(gateway, "patient"))
        assert not waiting.done()
        decide(gateway, grace, "grant", approval)
        assert waiting.result(PATIENCE).status_code == 200


def pending_of(gateway: RunningGateway, system: str) -> str:
    found = json.loads(govctl(gateway.directory, "approve", "list", "--json").stdout)
    return next((each["approval"] for each in found if each["system"] == system and each["state"] == "pending"), "")


def test_an_approver_who_lost_their_standing_no_longer_counts(gateway, agent):
    person = gateway.register("person/leaving", team="oversight", kind="human", owner="leaving@gateway.test")
    approval = held_back(ask(gateway, agent, "held", user="leaving"))
    decide(gateway, person, "grant", approval)
    govctl(gateway.directory, "agent", "suspend", person.id, "--reason", "they left")
    time.sleep(1)  # workers look at the inventory four times a second
    assert held_back(ask(gateway, agent, "held", user="leaving")) != approval


def test_an_approval_outlives_a_restart_and_is_still_good_once(gateway, agent, grace):
    approval = held_back(ask(gateway, agent, "held", user="restart"))
    decide(gateway, grace, "grant", approval)
    gateway.kill_everything()
    gateway.start(workers=2)
    assert ask(gateway, agent, "held", user="restart").status_code == 200
    assert gateway.stop(signal.SIGTERM) == 0
    gateway.start(workers=2)
    assert held_back(ask(gateway, agent, "held", user="restart")) != approval
