"""A Go program on go-spiffe as a workload of the gateway: it fetches, watches, validates and calls, through a taint."""

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.calls import chat, eventually, recorded
from tests.support.go_spiffe import ask, conversation, refusal
from tests.support.running_gateway import TRUST_DOMAIN, RunningGateway, govctl

pytestmark = pytest.mark.interop

MODEL = "example-chat"
GATEWAY = f"spiffe://{TRUST_DOMAIN}/gateway"
WORKLOAD = f"spiffe://{TRUST_DOMAIN}/agent/in-go"


class Home:
    """A gateway whose Workload API grants one identity to this user's programs."""

    def __init__(self, gateway: RunningGateway, socket: Path) -> None:
        self.gateway = gateway
        self.address = f"unix://{socket}"
        self.url = gateway.base_url + "/chat/completions"

    def ctl(self, *arguments: str) -> Any:
        """Run govctl; return what it printed, read as JSON where `--json` asks for that."""
        text = govctl(self.gateway.directory, *arguments).stdout
        return json.loads(text) if "--json" in arguments else text

    def active(self) -> str:
        """The id of the authority that signs now."""
        shown = self.ctl("authority", "x509", "show", "--json")
        return next(row["id"] for row in shown["authorities"] if row["state"] == "active")

    def taint(self) -> str:
        """Put another authority in the place of the one that signs, and taint that; return its id."""
        old = self.active()
        for step in (("prepare",), ("activate",), ("taint", old)):
            self.ctl("authority", "x509", *step, "--reason", "a test")
        return old


@pytest.fixture(scope="module")
def home(example_backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    short = Path(tempfile.mkdtemp(prefix="gg-"))  # the path of a Unix socket has at most 107 bytes
    running = RunningGateway(
        tmp_path_factory.mktemp("in-go") / "home", example_backend, [MODEL],
        {"identity": {"workload_api": {"socket": str(short / "api.sock")}}},
    )  # fmt: skip
    running.edit_data("limits", {"quota": [{"name": "all", "scope": "agent", "requests_per_minute": 1_000_000}]})
    running.register("agent/in-go", issue=False)
    home = Home(running, short / "api.sock")
    selector = f"unix:uid:{os.getuid()}"
    home.ctl("entry", "create", "--spiffe-id", WORKLOAD, "--selector", selector, "--hint", "main")
    running.start(workers=2)
    yield home
    assert running.stop() == 0
    shutil.rmtree(short)


def serial(context: dict[str, Any]) -> str:
    return str(context["svids"][0]["serial"])


def test_it_fetches_its_identity_and_the_bundle(home):
    context = ask(home.address, "fetch")
    [svid] = context["svids"]
    assert (svid["id"], svid["hint"]) == (WORKLOAD, "main")
    assert list(context["bundles"]) == [TRUST_DOMAIN]
    issued = recorded(home.gateway, "identity.issued", agent=WORKLOAD)
    assert int(issued["serial"], 16) == int(svid["serial"], 16)


def test_it_fetches_a_token_and_validates_it_by_itself_and_by_the_workload_api(home):
    token = ask(home.address, "jwt", GATEWAY)
    assert token["id"] == token["id_by_api"] == token["claims"]["sub"] == WORKLOAD
    assert token["audience"] == [GATEWAY]
    assert token["expiry"] - token["claims"]["iat"] == 300
    assert token["refused_elsewhere"], "another audience"
    assert token["refused_elsewhere_by_api"] == "InvalidArgument"


def test_it_calls_a_model_over_mutual_tls_and_is_who_it_is(home):
    answer = ask(home.address, "call", home.url, GATEWAY, json.dumps(chat(MODEL)))
    assert (answer["error"], answer["status"], answer["server"]) == ("", 200, GATEWAY)
    assert json.loads(answer["body"])["choices"][0]["message"]["content"]
    intent = recorded(home.gateway, "access.intent", principal=WORKLOAD)
    assert int(intent["peer"]["serial"], 16) == int(answer["serial"], 16)


def test_it_calls_nobody_but_the_gateway_it_expects(home):
    other = f"spiffe://{TRUST_DOMAIN}/another-gateway"
    answer = ask(home.address, "call", home.url, other, json.dumps(chat(MODEL)))
    assert answer["status"] == 0
    assert "unexpected ID" in answer["error"]


def test_a_taint_is_pushed_to_its_watch_and_its_calls_go_on_without_a_gap(home):
    body = chat(MODEL, max_tokens=2)
    with (
        conversation("watch", address=home.address) as watch,
        conversation("call", home.url, GATEWAY, address=home.address) as calls,
    ):
        watch.wait_for(1)
        before = serial(watch.said[0])
        assert calls.ask([body])[0]["status"] == 200
        rotated = threading.Event()

        def keep_calling() -> None:
            while not rotated.is_set():
                calls.ask([body])

        caller = threading.Thread(target=keep_calling)
        caller.start()
        try:
            old = home.taint()
            eventually("the watch was told", lambda: serial(watch.said[-1]) != before)
            eventually("the calls use what was pushed", lambda: calls.said[-1]["serial"] == serial(watch.said[-1]))
        finally:
            rotated.set()
            caller.join()
        home.ctl("authority", "x509", "revoke", old, "--reason", "a test")
        answers = calls.ask([body] * 5)
    assert {answer["serial"] for answer in answers} == {serial(watch.said[-1])}
    assert {(answer["status"], answer["error"]) for answer in calls.said} == {(200, "")}
    assert before in {answer["serial"] for answer in calls.said}
    for pushed in watch.said:
        assert "error" not in pushed, "the stream held"
        assert [svid["id"] for svid in pushed["svids"]] == [WORKLOAD], "and each message was the whole state"
        assert bundle(pushed)


def bundle(context: dict[str, Any]) -> list[str]:
    return list(context["bundles"][TRUST_DOMAIN])


def test_an_authority_is_in_the_bundle_before_it_signs(home):
    with conversation("watch", address=home.address) as watch:
        watch.wait_for(1)
        first = watch.said[0]
        home.ctl("authority", "x509", "prepare", "--new-root", "--reason", "a test")
        eventually("the bundle has it", lambda: len(bundle(watch.said[-1])) == len(bundle(first)) + 1)
        assert serial(watch.said[-1]) == serial(first)
        home.ctl("authority", "x509", "activate", "--reason", "a test")
        answer = ask(home.address, "call", home.url, GATEWAY, json.dumps(chat(MODEL)))
        assert (answer["error"], answer["status"]) == ("", 200)


def test_who_is_suspended_is_given_nothing_and_refused_with_what_it_holds(home):
    body = chat(MODEL)
    with (
        conversation("watch", address=home.address) as watch,
        conversation("call", home.url, GATEWAY, address=home.address) as calls,
    ):
        assert calls.ask([body])[0]["status"] == 200
        home.ctl("agent", "suspend", WORKLOAD, "--reason", "a test")
        try:
            eventually("its calls are refused", lambda: calls.ask([body])[0]["status"] == 401)
            refused = calls.said[-1]
            assert json.loads(refused["body"])["error"]["code"] == "identity-suspended"
            assert refused["serial"] == calls.said[0]["serial"], "it still presents what it was given"
            eventually("its stream ends", lambda: watch.said[-1].get("code") == "PermissionDenied")
            assert "PermissionDenied" in refusal(home.address, "fetch")
            assert "PermissionDenied" in refusal(home.address, "jwt", GATEWAY)
        finally:
            home.ctl("agent", "activate", WORKLOAD, "--reason", "a test")
        eventually("it is served again", lambda: "svids" in watch.said[-1])
        assert calls.ask([body])[0]["status"] == 200
