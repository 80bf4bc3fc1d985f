"""Taking new files while serving, whole or not at all, and the control plane that asks for it."""

import json
import os
import re
import signal
import socket
import ssl

import httpx
import pytest

from tests.support.calls import PATIENCE, chat, eventually, plain, recorded, records
from tests.support.running_gateway import AgentFiles, RunningGateway, govctl

MODEL = "example-chat"
ROLES = ("team:research: [chat-user]\nteam:platform: [platform-admin]\n", "team:platform: [platform-admin]\n")


@pytest.fixture(scope="module")
def reloadable(example_backend: str, tmp_path_factory: pytest.TempPathFactory):
    running = RunningGateway(tmp_path_factory.mktemp("reload") / "home", example_backend, [MODEL])
    running.start()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def caller(reloadable: RunningGateway) -> AgentFiles:
    return reloadable.register("agent/caller")


@pytest.fixture(scope="module")
def operator(reloadable: RunningGateway) -> AgentFiles:
    return reloadable.register("agent/operator", team="platform")


@pytest.fixture
def files(reloadable: RunningGateway):
    """The gateway, whose files are put back after the test."""
    names = [reloadable.config_path, *(reloadable.directory / "policies").rglob("*.*")]
    before = {path: path.read_bytes() for path in names if path.is_file()}
    yield reloadable
    for path, content in before.items():
        path.write_bytes(content)


@pytest.fixture
def admin(reloadable: RunningGateway, operator: AgentFiles):
    with control_plane(reloadable, operator) as client:
        yield client


def test_what_the_gateway_starts_with_is_on_record(reloadable):
    started = recorded(reloadable, "policy.activated", principal="start")
    assert started["policy"] == recorded(reloadable, "gateway.started")["policy"]
    assert started["source"] == str(reloadable.directory / "policies")


def control_plane(gateway: RunningGateway, agent: AgentFiles) -> httpx.Client:
    return httpx.Client(
        base_url=f"https://localhost:{gateway.admin_port}", verify=agent.tls(), trust_env=False, timeout=PATIENCE
    )


def bindings(gateway: RunningGateway, text: str) -> None:
    (gateway.directory / "policies" / "govgateway" / "bindings" / "data.yaml").write_text(text)


def refusals(gateway: RunningGateway) -> list[dict]:
    return [entry for entry in records(gateway) if entry["type"] == "config.refused"]


def break_policy(gateway: RunningGateway) -> str:
    path = gateway.directory / "policies" / "govgateway" / "authz" / "grants.rego"
    path.write_text(path.read_text() + "\nallow if {\n")
    return "grants.rego:"


def break_data(gateway: RunningGateway) -> str:
    (gateway.directory / "policies" / "govgateway" / "limits" / "data.yaml").write_text("quota: [\n")
    return "data.yaml:2"


def break_limit(gateway: RunningGateway) -> str:
    gateway.edit_data("limits", {"quota": [{"name": "typo", "scope": "agent", "request_per_minute": 5}]})
    return "request_per_minute"


def break_yaml(gateway: RunningGateway) -> str:
    gateway.config_path.write_text("trust_domain: gateway.test\nbackends: [\n")
    return "govgateway.yaml:3"


def break_key(gateway: RunningGateway) -> str:
    gateway.edit_config({"listener": {"drain_second": 3}})
    return "did you mean 'drain_seconds'"


def change_port(gateway: RunningGateway) -> str:
    gateway.edit_config({"listener": {"port": gateway.port + 1}})
    return "needs a restart"


BREAKS = [break_policy, break_data, break_limit, break_yaml, break_key, change_port]


@pytest.mark.parametrize("break_it", BREAKS)
def test_bad_files_are_refused_whole_on_sighup_and_the_old_ones_keep_serving(files, caller, break_it):
    refused_before = len(refusals(files))
    bindings(files, ROLES[1])  # a good change beside the bad one, which must not be taken either
    said = break_it(files)
    os.kill(files.pid, signal.SIGHUP)
    eventually("config.refused is recorded", lambda: len(refusals(files)) > refused_before)
    refused = refusals(files)[-1]
    assert refused["principal"] == "signal"
    assert said in refused["cause"]
    with plain(files, caller) as client:
        assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
    assert files.ready()["ready"] is True


@pytest.mark.parametrize("break_it", BREAKS[:5])
def test_govctl_reload_says_what_is_wrong_before_anything_is_asked(files, break_it):
    said = break_it(files)
    done = govctl(files.directory, "reload", check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_good_change_takes_effect_without_dropping_an_open_connection(files, caller):
    lasting = httpx.Limits(keepalive_expiry=120)  # a slow reload shall not outlast the client's patience
    with plain(files, caller, limits=lasting) as client:
        assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
        port = local_port(client)
        bindings(files, ROLES[1])
        govctl(files.directory, "reload")
        eventually("the role is gone", lambda: client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 403)
        activated = recorded(files, "policy.activated")
        assert activated["policy"]["data_digest"] != activated["replaced"]["data_digest"]
        assert recorded(files, "access.denied", principal=caller.id)["policy"] == activated["policy"]
        bindings(files, ROLES[0])
        govctl(files.directory, "reload")
        eventually("the role is back", lambda: client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200)
        assert local_port(client) == port, "the connection was opened anew"


def local_port(client: httpx.Client) -> int:
    """Return the local port of the client's connection after one more call on it."""
    with client.stream("GET", "/v1/models") as answer:
        answer.read()
        return int(answer.extensions["network_stream"].get_extra_info("client_addr")[1])


def test_an_answer_under_way_outlives_a_reload(files, caller):
    body = chat(MODEL, stream=True, max_tokens=300, ignore_eos=True)
    with plain(files, caller) as client, client.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.iter_lines()
        next(lines)
        before = len([entry for entry in records(files) if entry["type"] == "config.loaded"])
        bindings(files, ROLES[1])
        os.kill(files.pid, signal.SIGHUP)
        eventually(
            "the reload is done",
            lambda: len([entry for entry in records(files) if entry["type"] == "config.loaded"]) > before,
        )
        assert [line for line in lines if line][-1] == "data: [DONE]"
    bindings(files, ROLES[0])
    govctl(files.directory, "reload")
    with plain(files, caller) as client:
        eventually("the role is back", lambda: client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200)


@pytest.mark.parametrize(
    ("break_it", "place"),
    [
        (break_policy, r"grants\.rego:\d+"),
        (break_data, r"data\.yaml:2:\d+"),
        (break_yaml, r"govgateway\.yaml:3:\d+"),
        (break_key, r"listener\.drain_second"),
    ],
)
def test_broken_files_keep_a_gateway_from_starting_and_name_the_place(example_backend, tmp_path, break_it, place):
    gateway = RunningGateway(tmp_path / "home", example_backend, [MODEL])
    break_it(gateway)
    done = govctl(gateway.directory, "up", check=False)
    assert done.returncode == 1
    assert re.search(place, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", gateway.port), timeout=2)


def test_a_second_gateway_on_the_same_state_is_refused(reloadable):
    done = govctl(reloadable.directory, "up", check=False)
    assert done.returncode == 1
    assert f"process {reloadable.pid}" in done.stderr


def test_an_operator_sees_the_state_of_every_part(admin):
    status = admin.get("/v1/status")
    assert status.status_code == 200
    document = status.json()
    assert document["trust_domain"] == "gateway.test"
    assert all(part["ready"] for part in document["parts"].values())
    assert [worker["state"] for worker in document["workers"]] == ["ready"]
    shown = admin.get("/v1/config").json()
    assert shown["trust_domain"] == "gateway.test"
    agents = admin.get("/v1/agents").json()
    assert "spiffe://gateway.test/agent/operator" in [agent["id"] for agent in agents]


def test_an_operator_reloads_over_the_control_plane_and_is_named_in_the_log(files, admin, operator):
    shown = admin.get("/v1/status").json()["policy"]
    before = {name: shown[name] for name in ("revision", "data_digest", "bundle_digest")}
    bindings(files, "# the same roles\n" + ROLES[0] + "kind:pipeline: [embedding-user]\n")
    answer = admin.post("/v1/config/reload")
    assert answer.status_code == 200, answer.text
    assert answer.json()["workers"] == 1
    assert answer.json()["policy_data_digest"] != before["data_digest"]
    assert recorded(files, "policy.activated", principal=operator.id)["replaced"] == before
    assert recorded(files, "config.loaded", principal=operator.id)["config_digest"] == answer.json()["config_digest"]


def test_a_reload_of_bad_files_over_the_control_plane_says_what_is_wrong(files, admin, operator):
    said = break_policy(files)
    answer = admin.post("/v1/config/reload")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "config-refused"
    assert said in problem["detail"]
    assert said in recorded(files, "config.refused", principal=operator.id)["cause"]


@pytest.mark.parametrize(
    ("method", "path", "action"),
    [
        ("GET", "/v1/status", "admin.status.read"),
        ("GET", "/v1/config", "admin.status.read"),
        ("GET", "/v1/agents", "admin.agent.read"),
        ("POST", "/v1/config/reload", "admin.config.reload"),
        ("GET", "/openapi.json", "admin.status.read"),
    ],
)
def test_every_admin_request_is_recorded_and_only_operators_pass(
    reloadable, admin, operator, caller, method, path, action
):
    assert admin.request(method, path).status_code == 200
    allowed = [entry for entry in records(reloadable) if entry["type"] == "admin.request"][-1]
    assert (allowed["principal"], allowed["action"], allowed["decision"]) == (operator.id, action, "allow")
    assert (allowed["method"], allowed["resource"]["id"]) == (method, path)
    with control_plane(reloadable, caller) as client:
        refused = client.request(method, path)
    assert refused.status_code == 403
    assert refused.headers["content-type"] == "application/problem+json"
    problem = refused.json()
    assert problem["type"] == "urn:govgateway:problem:policy-denied"
    assert action in problem["detail"]
    assert problem["code"]
    assert problem["remedy"]
    denied = [entry for entry in records(reloadable) if entry["type"] == "admin.request"][-1]
    assert (denied["principal"], denied["action"], denied["decision"]) == (caller.id, action, "deny")
    assert denied["reasons"]


def test_the_control_plane_describes_itself(admin):
    document = admin.get("/openapi.json").json()
    assert document["openapi"].startswith("3.")
    assert {"/v1/status", "/v1/config", "/v1/agents", "/v1/config/reload"} <= set(document["paths"])


def test_an_unknown_admin_route_is_a_problem_document(admin):
    answer = admin.get("/v1/no-such-thing")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:govgateway:problem:not-found"


def test_without_a_certificate_the_control_plane_gives_no_answer(reloadable, caller):
    nobody = ssl.create_default_context(cafile=str(caller.directory / "bundle.pem"))
    with httpx.Client(verify=nobody, trust_env=False) as client, pytest.raises(httpx.TransportError):
        client.get(f"https://localhost:{reloadable.admin_port}/v1/status")


def test_a_suspended_operator_is_refused_and_an_agent_may_not_be_an_operator_by_header(reloadable, caller):
    former = reloadable.register("agent/former", team="platform")
    with control_plane(reloadable, former) as client:
        assert client.get("/v1/status").status_code == 200
        govctl(reloadable.directory, "agent", "suspend", former.id, "--reason", "a test")
        eventually("the operator is refused", lambda: client.get("/v1/status").status_code == 401)
    with control_plane(reloadable, caller) as client:
        forged = client.get("/v1/status", headers={"x-forwarded-client-cert": f"URI={former.id}"})
    assert forged.status_code == 403


def test_model_calls_are_not_served_on_the_control_plane_nor_admin_calls_on_the_data_plane(reloadable, admin, operator):
    assert admin.post("/v1/chat/completions", json=chat(MODEL)).status_code == 404
    with plain(reloadable, operator) as client:
        assert client.get("/v1/status").status_code == 404
        assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 403


def test_the_log_still_verifies(reloadable):
    done = govctl(reloadable.directory, "audit", "verify", "--json")
    assert json.loads(done.stdout)["ok"] is True
