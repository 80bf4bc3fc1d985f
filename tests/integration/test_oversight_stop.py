"""A person stops an AI system: new calls are refused, answers under way cut, on every worker and after a restart."""

import concurrent.futures
import json

import pytest
import yaml

from tests.support.calls import PATIENCE, chat, eventually, outcome, plain, recorded, records
from tests.support.running_gateway import AgentFiles, RunningGateway, govctl

LONG = {"max_tokens": 2000, "ignore_eos": True, "stream": True}


@pytest.fixture(scope="module")
def gateway(example_backend: str, tmp_path_factory: pytest.TempPathFactory):
    """Two workers and three systems; in one of them calls wait for a person."""
    models = ["example-chat", "example-other=other", "example-patient=patient"]
    running = RunningGateway(tmp_path_factory.mktemp("stops") / "home", example_backend, models)
    systems = running.directory / "policies" / "govgateway" / "systems" / "data.yaml"
    known = yaml.safe_load(systems.read_text())
    known["other"] = {"risk": "limited", "data_classes": ["internal"]}
    terms = {"approval": ["model.infer"], "approval_terms": {"wait_seconds": 60}}
    known["patient"] = {"risk": "limited", "data_classes": ["internal"], "oversight": terms}
    running.edit_data("systems", known)
    running.edit_data("bindings", {"team:research": ["chat-user"], "team:oversight": ["overseer"]})
    running.start(workers=2)
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def agent(gateway: RunningGateway) -> AgentFiles:
    return gateway.register("agent/researcher")


@pytest.fixture(scope="module")
def grace(gateway: RunningGateway) -> AgentFiles:
    return gateway.register("person/grace", team="oversight", kind="human", owner="grace@gateway.test")


def status(gateway: RunningGateway, agent: AgentFiles, model: str = "example-chat") -> int:
    with plain(gateway, agent) as client:
        return client.post("/v1/chat/completions", json=chat(model)).status_code


def statuses(gateway: RunningGateway, agent: AgentFiles) -> set[int]:
    return {status(gateway, agent) for _ in range(6)}


def oversight(gateway: RunningGateway, *arguments: str, who: AgentFiles | None = None, check: bool = True):
    identity = ("--identity", str(who.directory)) if who else ()
    return govctl(gateway.directory, "oversight", *arguments, "--reason", "a test", *identity, check=check)


@pytest.mark.parametrize("by_person", [False, True])
def test_a_stopped_system_is_not_called_and_its_answers_are_cut_on_every_worker(gateway, agent, grace, by_person):
    who = grace if by_person else None
    connections = [plain(gateway, agent) for _ in range(4)]
    body = chat(**LONG)
    contexts = [client.stream("POST", "/v1/chat/completions", json=body) for client in connections]
    answers = [context.__enter__() for context in contexts]
    lines = [answer.iter_lines() for answer in answers]
    for line in lines:
        assert next(line).startswith("data: ")
    oversight(gateway, "stop", "assistant", who=who)
    for line in lines:
        events = [text[6:] for text in line if text.startswith("data: ")]
        assert "[DONE]" not in events
        assert json.loads(events[-1])["error"]["code"] == "system_stopped"
    for answer, context, client in zip(answers, contexts, connections, strict=True):
        context.__exit__(None, None, None)
        client.close()
        ended = outcome(gateway, answer.headers["x-request-id"])
        assert (ended["result"], ended["cause"]) == ("cut", "system_stopped")
    eventually("every worker refuses it", lambda: statuses(gateway, agent) == {403})
    with plain(gateway, agent) as client:
        error = client.post("/v1/chat/completions", json=chat()).json()["error"]
    assert (error["code"], error["system"]) == ("system_stopped", "assistant")
    assert "a test" not in error["message"], "the person's reason is not for callers"
    assert status(gateway, agent, "example-other") == 200
    again = oversight(gateway, "stop", "assistant", who=who, check=False)
    assert again.returncode == 1
    assert "stopped already" in again.stderr
    oversight(gateway, "resume", "assistant", who=who)
    eventually("every worker serves it", lambda: statuses(gateway, agent) == {200})
    stopped = recorded(gateway, "oversight.stopped", system="assistant")
    resumed = recorded(gateway, "oversight.resumed", system="assistant")
    for record in (stopped, resumed):
        assert record["principal"] == grace.id if by_person else record["principal"].startswith("operator:")
        assert (record["cause"], record["drill"]) == ("a test", False)


def test_a_call_that_waits_for_approval_is_cut_by_a_stop(gateway, agent):
    with concurrent.futures.ThreadPoolExecutor(1) as pool, plain(gateway, agent) as client:
        waiting = pool.submit(client.post, "/v1/chat/completions", json=chat("example-patient"))
        eventually("it waits", lambda: json.loads(govctl(gateway.directory, "approve", "list", "--json").stdout))
        oversight(gateway, "stop", "patient")
        answer = waiting.result(PATIENCE)
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "system_stopped"
    denied = [each for each in records(gateway) if each["type"] == "access.denied" and each["system"] == "patient"]
    assert denied[-1]["problem"] == "system-stopped"
    oversight(gateway, "resume", "patient")


def test_a_stop_outlives_a_restart_and_can_be_made_while_no_gateway_runs(gateway, agent):
    gateway.kill_everything()
    oversight(gateway, "stop", "assistant")
    gateway.start(workers=2)
    assert statuses(gateway, agent) == {403}
    listed = json.loads(govctl(gateway.directory, "oversight", "list", "--json").stdout)
    assert [each["system"] for each in listed] == ["assistant"]
    oversight(gateway, "resume", "assistant")
    eventually("every worker serves it", lambda: statuses(gateway, agent) == {200})


@pytest.mark.parametrize("by_person", [False, True])
def test_an_exercise_stops_the_system_on_every_worker_and_resumes_it(gateway, agent, grace, by_person):
    done = oversight(gateway, "drill", "other", "--json", who=grace if by_person else None)
    result = json.loads(done.stdout)
    assert (result["passed"], result["workers"]) == (True, 2)
    drilled = recorded(gateway, "oversight.drilled")
    assert (drilled["result"], drilled["workers"], drilled["system"]) == ("passed", 2, "other")
    eventually("it serves again", lambda: status(gateway, agent, "example-other") == 200)


def test_who_may_not_stop_a_system_does_not(gateway, agent):
    machine = gateway.register("service/watcher", team="oversight", kind="service")
    for who in (agent, machine):
        done = oversight(gateway, "stop", "assistant", who=who, check=False)
        assert done.returncode == 1
        assert "may not do admin.oversight.stop" in done.stderr


@pytest.mark.parametrize("by_person", [False, True])
def test_a_system_that_no_model_belongs_to_cannot_be_stopped(gateway, grace, by_person):
    done = oversight(gateway, "stop", "asistant", who=grace if by_person else None, check=False)
    assert done.returncode == 1
    assert "Known are: assistant, other, patient" in done.stderr


@pytest.mark.parametrize("by_person", [False, True])
def test_an_output_that_a_person_did_not_follow_is_on_record(gateway, agent, grace, by_person):
    with plain(gateway, agent) as client:
        answer = client.post("/v1/chat/completions", json=chat())
    call = answer.headers["x-request-id"]
    who = grace if by_person else None
    oversight(gateway, "override", call, "--how", "reversed", who=who)
    overridden = recorded(gateway, "oversight.overridden", of=call)
    assert (overridden["agent"], overridden["system"], overridden["how"]) == (agent.id, "assistant", "reversed")
    unknown = oversight(gateway, "override", overridden["event_id"], "--how", "reversed", who=who, check=False)
    assert unknown.returncode == 1
    assert "no allowed call" in unknown.stderr
