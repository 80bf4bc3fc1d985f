"""govctl audit seal, retention, hold, content and erase: what they say, do, and put on record."""

import asyncio
import secrets
import subprocess
import sys
import time
from base64 import b64encode
from typing import Any

import pytest

from audit.event_id import uuid7
from audit.log import append_once
from audit.sealing import Content
from gateway.app import open_audit_store, open_audit_tree
from gateway.config import load_config
from gateway.retention import last_deleted_checkpoint
from gateway.sealed_content import open_sealer

DAY_NS = 86_400_000_000_000
SEALING = (
    "\naudit:\n  sealing: {seal_key: file:content.key, readers: ['operator:alex', 'operator:sam'], two_people: true}\n"
)


@pytest.fixture
def gateway(govctl: Any) -> Any:
    """A gateway whose sealed content two people open together."""
    path = govctl.directory / "govgateway.yaml"
    text = path.read_text()
    assert "\naudit:" not in text
    path.write_text(text + SEALING)
    key = govctl.directory / "content.key"
    key.write_bytes(b64encode(secrets.token_bytes(32)))
    key.chmod(0o600)
    return govctl


def write(gateway: Any, age_days: int, count: int = 3) -> None:
    config = load_config(gateway.directory / "govgateway.yaml")
    then = time.time_ns() - age_days * DAY_NS
    for _ in range(count):
        append_once(open_audit_store(config), "worker-0", "log.recovered", {"cause": "a test"}, lambda: then)


async def sign(gateway: Any) -> None:
    tree, _ = open_audit_tree(load_config(gateway.directory / "govgateway.yaml"))
    await tree.once()
    await tree.close()


def put(gateway: Any, data: bytes, subject: str = "ada", case: str = "") -> str:
    event_id = uuid7()
    sealer = open_sealer(load_config(gateway.directory / "govgateway.yaml"))
    sealer.seal([Content(event_id, "request", subject, case, data)])
    return event_id


def keep_nothing(gateway: Any) -> None:
    """Let every record be past its time at once: init has just written some."""
    path = gateway.directory / "govgateway.yaml"
    path.write_text(path.read_text() + "  retention: {default_days: 0, unsafe_shorter_than_law: true}\n")


async def test_what_is_past_its_time_is_simulated_and_then_deleted(gateway: Any) -> None:
    keep_nothing(gateway)
    write(gateway, 500)
    await sign(gateway)
    assert gateway("audit", "seal", "--json").json["end"] == 4  # three, and the one that init wrote
    write(gateway, 1, count=1)
    (segment,) = gateway("audit", "retention", "simulate", "--json").json["segments"]
    assert segment["deletable"]
    assert "deleted" in gateway("audit", "retention", "simulate").out
    assert [each["segment"] for each in gateway("audit", "retention", "apply", "--json").json["deleted"]] == [1]
    with open_audit_store(load_config(gateway.directory / "govgateway.yaml")).reader("worker-0") as reader:
        assert reader.first().sequence >= 2
    (record,) = gateway.records("log.segment_deleted")
    assert record["records"] == 4
    assert "No sealed segment" in gateway("audit", "retention", "apply").out


async def test_what_is_left_after_a_deletion_verifies_from_the_sealed_checkpoint_on(gateway: Any) -> None:
    keep_nothing(gateway)
    config = load_config(gateway.directory / "govgateway.yaml")
    assert last_deleted_checkpoint(config) is None
    write(gateway, 0)
    await sign(gateway)
    gateway("audit", "seal")
    write(gateway, 0)
    await sign(gateway)
    gateway("audit", "retention", "apply")
    note = last_deleted_checkpoint(config)
    assert note is not None
    (gateway.directory / "sealed").write_bytes(note)
    report = gateway("audit", "verify", "--sealed", "sealed", "--json").json
    assert report["ok"]


async def test_a_chain_that_is_idle_since_it_was_deleted_verifies_here_and_outside(gateway: Any) -> None:
    keep_nothing(gateway)
    write(gateway, 0)
    await sign(gateway)
    gateway("audit", "seal")
    await sign(gateway)
    gateway("audit", "retention", "apply")
    await sign(gateway)
    report = gateway("audit", "verify", "--json").json
    assert report["ok"], report
    gateway("audit", "export", "-o", "out")
    key = (gateway.directory / "state" / "audit" / "checkpoint.vkey").read_text().strip()
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-I", "verify_audit.py", "export", ".", "--key", key],
        cwd=gateway.directory / "out", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


async def test_young_records_and_legal_holds_are_named_as_what_holds_it_back(gateway: Any) -> None:
    write(gateway, 500)
    write(gateway, 100, count=1)
    await sign(gateway)
    gateway("audit", "seal")
    hold = gateway("audit", "hold", "set", "--type", "log.recovered", "--reason", "suit 7", "--json").json["hold"]
    told = gateway("audit", "retention", "simulate").out
    assert "kept until" in told
    assert f"legal hold {hold} (4 records)" in told
    assert f"legal hold {hold}" in gateway("audit", "retention", "apply").out
    assert hold in gateway("audit", "hold", "list").out
    gateway("audit", "hold", "lift", hold, "--reason", "over", user="sam")
    assert gateway("audit", "hold", "list", "--json").json == []
    assert gateway.records("log.legal_hold_lifted")[0]["principal"] == "operator:sam"


def test_a_segment_needs_a_checkpoint(gateway: Any) -> None:
    assert "checkpoint" in gateway("audit", "seal", code=1).err


@pytest.mark.parametrize(
    "options", [(), ("--all", "--system", "x"), ("--since", "2026-02-01", "--until", "2026-01-01")]
)
def test_a_hold_says_what_it_covers(gateway: Any, options: tuple[str, ...]) -> None:
    gateway("audit", "hold", "set", "--reason", "suit", *options, code=1)
    assert gateway("audit", "hold", "list", "--json").json == []


def test_two_people_open_content_and_it_is_on_record(gateway: Any) -> None:
    event_id = put(gateway, b"my diagnosis")
    opening = ("audit", "content", "open", event_id, "--reason", "incident 4")
    assert "two people" in gateway(*opening, code=1).err
    asked = gateway("audit", "content", "request", event_id, "--reason", "incident 4", "--json").json["request"]
    assert "another person" in gateway("audit", "content", "approve", asked, code=1).err
    gateway("audit", "content", "approve", asked, user="sam")
    shown = gateway(*opening, "--request", asked, "--json").json
    assert shown["content"] == "my diagnosis"
    assert shown["approved_by"] == ["operator:sam"]
    assert "used already" in gateway(*opening, "--request", asked, code=1).err
    assert gateway.records("content.opened")[0]["cause"] == "incident 4"
    assert "may not" in gateway(*opening, user="eve", code=1).err


def test_erased_content_is_found_no_more_to_open_and_backups_are_named(gateway: Any) -> None:
    path = gateway.directory / "govgateway.yaml"
    path.write_text(path.read_text().replace("two_people: true", "backups: [nightly]"))
    event_id = put(gateway, b"my diagnosis", case="case-7")
    (found,) = gateway("audit", "content", "search", "--subject", "ada", "--reason", "Art. 15", "--json").json
    assert found["of"] == event_id
    told = gateway("audit", "erase", "--subject", "ada", "--reason", "Art. 17 request").out
    assert "rendered inaccessible" in told
    assert "nightly" in told
    again = gateway("audit", "erase", "--subject", "ada", "--reason", "Art. 17 request", "--json").json
    assert len(gateway.records("content.erased")) == 1
    assert again[0]["erasure"] == gateway.records("content.erased")[0]["erasure"]
    assert "rendered inaccessible" in gateway("audit", "content", "open", event_id, "--reason", "x", code=1).err
    assert "No erasure" in gateway("audit", "erase", "--resume").out
    assert "nothing is sealed" in gateway("audit", "erase", "--case", "other", "--reason", "x", code=1).err


def test_content_under_a_legal_hold_is_not_erased(gateway: Any) -> None:
    config = load_config(gateway.directory / "govgateway.yaml")
    linked = append_once(open_audit_store(config), "worker-0", "log.recovered", {"cause": "a test"}, time.time_ns)
    open_sealer(config).seal([Content(linked.event_id, "request", "ada", "", b"evidence")])
    gateway("audit", "hold", "set", "--type", "log.recovered", "--reason", "suit 7")
    assert "suit 7" in gateway("audit", "erase", "--subject", "ada", "--reason", "Art. 17", code=1).err


@pytest.mark.parametrize("options", [(), ("--subject", "a", "--case", "b")])
def test_an_erasure_names_a_subject_or_a_case(gateway: Any, options: tuple[str, ...]) -> None:
    assert "--subject" in gateway("audit", "erase", *options, "--reason", "x", code=1).err


async def test_sealed_content_goes_with_the_record_of_its_call(gateway: Any) -> None:
    keep_nothing(gateway)
    config = load_config(gateway.directory / "govgateway.yaml")
    event_id = uuid7()
    (fields,) = open_sealer(config).seal([Content(event_id, "request", "ada", "", b"old")])
    fields["principal"] = "spiffe://gateway.test/agent/a"
    store, then = open_audit_store(config), time.time_ns() - 500 * DAY_NS
    append_once(store, "worker-0", "content.sealed", fields, lambda: then)
    await sign(gateway)
    gateway("audit", "seal")
    assert open_sealer(config).store.item(event_id, "request") is not None
    gateway("audit", "retention", "apply")
    assert open_sealer(config).store.item(event_id, "request") is None


def test_less_than_the_law_is_refused_by_the_configuration(gateway: Any) -> None:
    path = gateway.directory / "govgateway.yaml"
    text = path.read_text()
    path.write_text(text.replace("two_people: true}", "two_people: true}\n  retention: {default_days: 30}"))
    assert "unsafe_shorter_than_law" in gateway("config", "check", code=1).err
    path.write_text(path.read_text().replace("{default_days: 30}", "{default_days: 30, unsafe_shorter_than_law: true}"))
    gateway("config", "check")
    path.write_text(text)
