"""Revisions of the policies: activated everywhere or nowhere, rolled back, refused with the old one still serving."""

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from audit.log import append_once
from gateway.app import open_audit_store, policy_store
from gateway.clock import system_clock
from gateway.config import load_config
from tests.support.calls import PATIENCE, chat, eventually, plain, recorded, records
from tests.support.policy_bundles import PolicyAuthor, activate, refused
from tests.support.running_gateway import BIN, ROOT, AgentFiles, RunningGateway, govctl

MODEL = "example-chat"


@pytest.fixture(scope="module")
def author(tmp_path_factory: pytest.TempPathFactory) -> PolicyAuthor:
    author = PolicyAuthor(tmp_path_factory.mktemp("author"), ROOT / "policies")
    author.bind("team:approvers", ["policy-approver"])
    author.bind("team:activators", ["activator"])
    only = {"actions": ["admin.policy.activate"], "resources": ["*"]}
    author.edit("roles", lambda table: {**table, "activator": {"permissions": [only]}})
    return author


@pytest.fixture(scope="module")
def gateway(example_backend: str, author: PolicyAuthor, tmp_path_factory: pytest.TempPathFactory):
    running = RunningGateway(
        tmp_path_factory.mktemp("activation") / "home", example_backend, [MODEL], author.configuration()
    )
    assert "govctl policy activate" in govctl(running.directory, "up", check=False).stderr, "nothing to start with"
    assert activate(running, author.build("first"))["revision"] == "first"
    running.start(workers=2)
    yield running
    assert running.stop() == 0
    assert govctl(running.directory, "audit", "verify").returncode == 0


@pytest.fixture(scope="module")
def caller(gateway: RunningGateway) -> AgentFiles:
    return gateway.register("agent/caller")


@pytest.fixture(scope="module")
def approver(gateway: RunningGateway) -> AgentFiles:
    return gateway.register("person/grace", team="approvers", kind="human")


@pytest.fixture(autouse=True)
def _first_again(gateway: RunningGateway) -> Iterator[None]:
    yield
    if active(gateway)["revision"] != "first":
        govctl(gateway.directory, "policy", "rollback", "first", "--reason", "the test is over")


def active(gateway: RunningGateway) -> dict[str, Any]:
    latest = policy_store(load_config(gateway.config_path)).history().active
    assert latest is not None
    return latest.model_dump()


def status(gateway: RunningGateway, agent: AgentFiles) -> int:
    with plain(gateway, agent) as client:
        return client.post("/v1/chat/completions", json=chat(MODEL)).status_code


def control_plane(gateway: RunningGateway, agent: AgentFiles) -> httpx.Client:
    return httpx.Client(
        base_url=f"https://localhost:{gateway.admin_port}", verify=agent.tls(), trust_env=False, timeout=PATIENCE
    )


# Forward and back


def test_the_next_revision_decides_in_every_worker_once_it_is_said_to_be_active(gateway, author, caller):
    assert status(gateway, caller) == 200
    author.bind("team:research", [])
    try:
        bundle = author.build("without-research", "--author", "ada", "--approver", "grace", "--link", "https://x/1")
    finally:
        author.bind("team:research", ["chat-user"])
    before = active(gateway)
    done = activate(gateway, bundle)
    assert [status(gateway, caller) for _ in range(8)] == [403] * 8, "each call may meet another worker"
    denied = recorded(gateway, "access.denied", principal=caller.id)
    assert denied["policy"]["revision"] == "without-research"
    activated = recorded(gateway, "policy.activated", bundle_digest=done["digest"])
    assert activated["principal"].startswith("operator:")
    assert activated["replaced"]["revision"] == before["revision"]
    assert activated["change"]["author"] == "ada"
    assert activated["change"]["approvers"] == ["grace"]
    assert activated["change"]["link"] == "https://x/1"


def test_a_rollback_is_instant_needs_a_reason_and_is_recorded_as_one(gateway, author, caller):
    activate(gateway, author.build("second"))
    assert "reason" in refused(gateway, "rollback")
    govctl(gateway.directory, "policy", "rollback", "--reason", "it denied too much")
    assert active(gateway)["revision"] == "first"
    back = recorded(gateway, "policy.activated", rollback=True, reason="it denied too much")
    assert back["replaced"]["revision"] == "second"
    assert status(gateway, caller) == 200


def test_the_active_revision_outlives_the_gateway(gateway, author, caller):
    activate(gateway, author.build("lasting"))
    assert gateway.stop() == 0
    gateway.start(workers=2)
    assert status(gateway, caller) == 200
    assert recorded(gateway, "access.intent", principal=caller.id)["policy"]["revision"] == "lasting"


def test_an_activation_that_a_kill_cut_in_two_is_said_to_have_failed_at_the_next_start(gateway, author):
    activate(gateway, author.build("kept"))
    assert gateway.stop() == 0
    config = load_config(gateway.config_path)
    before = policy_store(config).history().active
    never = before.model_copy(update={"digest": "0" * 64, "revision": "never-taken", "time": before.time + 1})
    append_once(open_audit_store(config), "control", "policy.activated", never.record(before), system_clock)
    gateway.start(workers=2)
    assert (
        "activation of never-taken was recorded"
        in recorded(gateway, "policy.activation_failed", bundle_digest=never.digest)["cause"]
    )
    assert active(gateway)["revision"] == "kept"


def test_an_approver_activates_and_goes_back_over_the_control_plane(gateway, author, caller, approver):
    bundle = author.build("by-api")
    with control_plane(gateway, approver) as client:
        done = client.post("/v1/policy/activate", content=bundle.read_bytes())
        assert done.status_code == 200, done.text
        assert client.get("/v1/policy").json()["active"]["revision"] == "by-api"
        assert recorded(gateway, "policy.activated", principal=approver.id)["policy"]["revision"] == "by-api"
        again = client.post("/v1/policy/rollback", json={"reason": "a test"})
        assert again.json()["revision"] == "first", again.text
        assert client.post("/v1/policy/rollback", json={"reason": ""}).status_code == 400
    with control_plane(gateway, caller) as client:
        assert client.post("/v1/policy/activate", content=bundle.read_bytes()).status_code == 403
        assert client.get("/v1/policy/bundles/govgateway.tar.gz").status_code == 403


def test_who_may_only_go_forward_does_not_go_back(gateway, author):
    older = author.build("forward-only", serial=0)
    only = gateway.register("agent/pipeline", team="activators")
    with control_plane(gateway, only) as client:
        content = older.read_bytes()
        answer = client.post("/v1/policy/activate", params={"rollback": "true", "reason": "x"}, content=content)
        assert answer.status_code == 403
        assert client.post("/v1/policy/rollback", json={"reason": "x"}).status_code == 403
        assert "older" in client.post("/v1/policy/activate", content=content).json()["detail"]
    assert active(gateway)["revision"] == "first"


# Refusals: the old one still serves


def broken_rego(author: PolicyAuthor) -> None:
    (author.policies / "govgateway/authz/broken.rego").write_text("package govgateway.authz\n\nallow if {\n")


def undefined_entry(author: PolicyAuthor) -> None:
    path = author.policies / "govgateway/authz/decision.rego"
    path.write_text("package govgateway.authz\n\nnothing := true\n")


def failing_test(author: PolicyAuthor) -> None:
    (author.policies / "govgateway/authz/odd_test.rego").write_text(
        "package govgateway.authz_test\n\ntest_that_fails if 1 == 2\n"
    )


def repacked(author: PolicyAuthor, change: Callable[[PolicyAuthor], None], name: str) -> Path:
    """Build a signed bundle of policies that govctl itself would refuse to build."""
    from gateway.authorization.bundle import BundleSigner, write_bundle
    from gateway.authorization.manifest import Change, Manifest
    from gateway.authorization.policy_tree import read_policy_tree

    other = PolicyAuthor(author.directory / name, author.policies)
    change(other)
    signer = BundleSigner(author.private.read_bytes(), author.key_id)
    manifest = Manifest(name, ("govgateway",), Change(serial=900))
    path = author.directory / f"{name}.tar.gz"
    path.write_bytes(write_bundle(read_policy_tree(other.policies), manifest, signer, tests=True))
    return path


@pytest.mark.parametrize(
    ("change", "why"),
    [(broken_rego, "broken.rego"), (undefined_entry, "undefined"), (failing_test, "test_that_fails")],
)
def test_policies_that_are_broken_are_refused_and_the_old_ones_serve(gateway, author, caller, change, why):
    bundle = repacked(author, change, change.__name__)
    assert why in refused(gateway, "activate", str(bundle))
    assert active(gateway)["revision"] == "first"
    assert status(gateway, caller) == 200
    assert why in recorded(gateway, "policy.refused", source=str(bundle))["cause"]


def test_a_bundle_without_a_signature_or_with_anothers_is_refused(gateway, author, caller, tmp_path):
    assert "sign" in refused(gateway, "activate", str(author.build("unsigned", signed=False)))
    stranger = PolicyAuthor(tmp_path / "stranger", author.policies)
    assert "sign" in refused(gateway, "activate", str(stranger.build("strange")))
    damaged = author.build("damaged").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(damaged[: len(damaged) // 2])
    refused(gateway, "activate", str(tmp_path / "cut.tar.gz"))
    assert status(gateway, caller) == 200
    assert active(gateway)["revision"] == "first"


def test_an_older_revision_is_taken_only_as_a_rollback(gateway, author):
    activate(gateway, author.build("newer", serial=500))
    older = author.build("older", serial=400)
    assert "older" in refused(gateway, "activate", str(older))
    assert "older" in refused(gateway, "activate", str(author.build("none", serial=0)))
    assert "--reason" in refused(gateway, "activate", str(older), "--rollback")
    assert activate(gateway, older, "--rollback", "--reason", "it was better")["revision"] == "older"
    assert recorded(gateway, "policy.activated", rollback=True)["reason"] == "it was better"


def test_a_revision_that_is_no_longer_usable_is_no_way_back(gateway, author, caller):
    activate(gateway, author.build("last"))
    store = policy_store(load_config(gateway.config_path))
    path = store.path(store.history().activations[0].digest)
    content = path.read_bytes()
    path.write_bytes(repacked(author, broken_rego, "rotten").read_bytes())
    try:
        assert "changed" in refused(gateway, "rollback", "first", "--reason", "a test")
    finally:
        path.write_bytes(content)
    assert "was not active here" in refused(gateway, "rollback", "never-seen", "--reason", "a test")
    assert active(gateway)["revision"] == "last"
    assert status(gateway, caller) == 200


def test_of_two_activations_at_once_one_is_made_and_the_other_told(gateway, author):
    bundles = [author.build("left"), author.build("right")]
    processes = [
        subprocess.Popen(
            [BIN / "govctl", "policy", "activate", str(bundle), "--rollback", "--reason", "a race"],
            cwd=gateway.directory, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for bundle in bundles
    ]  # fmt: skip
    results = [(process.communicate(timeout=60), process.returncode) for process in processes]
    failed = [err for (_, err), code in results if code]
    assert all("under way" in err for err in failed), failed
    assert len(failed) <= 1
    names = {each["policy"]["revision"] for each in records(gateway, 500) if each["type"] == "policy.activated"}
    assert active(gateway)["revision"] in names & {"left", "right"}


# Under load


def test_ten_thousand_bindings_are_taken_under_load_without_a_failed_or_mixed_decision(gateway, author, caller):
    domain = gateway.trust_domain

    def many(count: int, role: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
        mine = {caller.id: [role]}
        return lambda table: {**{f"spiffe://{domain}/agent/n{n}": [role] for n in range(count)}, **mine}

    tables = {name: author.policies / f"govgateway/{name}/data.yaml" for name in ("bindings", "limits")}
    before = {path: path.read_text() for path in tables.values()}
    try:
        author.edit("limits", lambda _: {"quota": []})
        author.edit("bindings", many(10_000, "chat-user"))
        allowing = author.build("allowing")
        author.edit("bindings", many(10_000, "delegate"))
        denying = author.build("denying")
    finally:
        for path, text in before.items():
            path.write_text(text)
    activate(gateway, allowing)
    seen: list[tuple[int, str]] = []
    ended = threading.Event()

    def call() -> None:
        with plain(gateway, caller) as client:
            while not ended.is_set():
                answer = client.post("/v1/chat/completions", json=chat(MODEL, max_tokens=1))
                seen.append((answer.status_code, answer.json().get("error", {}).get("code", "")))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for bundle in (denying, allowing, denying, allowing):
        activate(gateway, bundle, "--rollback", "--reason", "to and fro")
    ended.set()
    for thread in threads:
        thread.join()
    # Refusals beyond the caller's budget are counted, not recorded one by one.
    locked = (503, "quota_ledger_locked")  # a busy machine may not let whoever holds the ledger run for a moment
    assert seen.count(locked) <= len(seen) // 100
    assert set(seen) - {(429, "too_many_refusals"), locked} == {(200, ""), (403, "model_not_granted")}, "no call failed"
    assert gateway.stop() == 0  # every record is written
    decisions = [r for r in records(gateway, 20_000) if r["type"] in {"access.intent", "access.denied"}]
    mixed = [
        r["event_id"]
        for r in decisions
        if r["policy"]["revision"] in {"allowing", "denying"}
        and (r["decision"] == "allow") != (r["policy"]["revision"] == "allowing")
    ]
    assert mixed == [], "each decision is by the revision that it names"
    gateway.start(workers=2)


# Shadow


def test_a_candidate_decides_beside_the_active_revision_and_is_promoted(gateway, author, caller):
    author.bind("team:research", [])
    try:
        candidate = author.build("candidate")
    finally:
        author.bind("team:research", ["chat-user"])
    assert "No candidate" in refused(gateway, "shadow", "show")
    govctl(gateway.directory, "policy", "shadow", "start", str(candidate))
    recorded(gateway, "policy.shadow_started", source=str(candidate))

    def differs() -> Any:
        assert status(gateway, caller) == 200, "nobody obeys a candidate"
        shown = json.loads(govctl(gateway.directory, "policy", "shadow", "show", "--json").stdout)
        return shown["differences"] and shown

    shown = eventually("the difference is seen", differs)
    assert shown["changes"].keys() == {"allow-to-deny"}
    first = shown["differences"][0]
    assert (first["principal"], first["resource"], first["reason"]) == (caller.id, MODEL, "model_not_granted")
    assert shown["samples"][0]["candidate"]["allow"] is False
    govctl(gateway.directory, "policy", "shadow", "promote")
    assert active(gateway)["revision"] == "candidate"
    assert status(gateway, caller) == 403
    assert recorded(gateway, "policy.shadow_stopped")["changes"]["allow-to-deny"] >= 1
    assert "No candidate" in refused(gateway, "shadow", "show")


def test_a_candidate_of_a_stranger_is_not_watched(gateway, author, tmp_path):
    stranger = PolicyAuthor(tmp_path / "stranger", author.policies)
    assert "sign" in refused(gateway, "shadow", "start", str(stranger.build("strange")))
