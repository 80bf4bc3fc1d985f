"""Recorded decisions: from files of samples, from exported records, from the log."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from audit.chain import Head, link
from audit.store import SqliteStore
from gateway.policyreview.pseudonyms import Pseudonyms
from gateway.policyreview.recorded import (
    MAX_LINE_BYTES,
    RecordedError,
    chain_of,
    merged,
    read_samples,
    sample_line,
)
from gateway.policyreview.recorded_log import read_log, read_records
from tests.unit.policyreview.conftest import NOW, call, recorded, revision

SECOND = 1_000_000_000


def lines(path: Path, *documents: Any) -> Path:
    path.write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in documents))
    return path


def intent(event: str, time: int = NOW, **changes: Any) -> dict[str, Any]:
    return {
        "type": "access.intent", "event_id": event, "time": str(time * SECOND), "decision": "allow", "policy_input": call(),
        **changes,
    }  # fmt: skip


def outcome(event: str, tokens: int) -> dict[str, Any]:
    usage = {"charged_tokens": tokens, "input_tokens": 1, "output_tokens": 1, "reported": True}
    return {
        "type": "access.outcome",
        "event_id": "o" + event,
        "intent": event,
        "usage": usage,
        "time": str(NOW * SECOND),
    }


def test_samples_are_read_as_they_were_written(tmp_path: Path) -> None:
    calls = [recorded(call(), call("bob"), count=3, tokens=7, decision="allow"), recorded(call("eve"), time=5)]
    path = tmp_path / "samples.jsonl"
    path.write_bytes(b"".join(map(sample_line, calls)))
    assert list(read_samples(path)) == calls


def test_a_sample_needs_nothing_but_an_input(tmp_path: Path) -> None:
    (read,) = read_samples(lines(tmp_path / "s", {"input": call()}))
    assert (read.count, read.time, read.tokens, read.decision) == (1, 0, 0, "")


def without(part: str, name: str) -> dict[str, Any]:
    document = call()
    del document[part][name]
    return document


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "not a JSON object"),
        ({"count": 1}, "no 'input'"),
        ({"input": call(), "prompt": "hello"}, "unknown key 'prompt'"),
        ({"input": call(), "count": 0}, "'count' is at least 1"),
        ({"input": call(), "count": True}, "'count' is not a whole number"),
        ({"input": call(), "tokens": -1}, "'tokens' is not a whole number"),
        ({"input": call(), "time": 1.5}, "'time' is not a whole number"),
        ({"input": call(), "decision": "maybe"}, "'decision' is allow or deny"),
        ({"input": call(), "delegated": {}}, "'delegated' is not an array"),
        ({"input": call(), "delegated": [call()] * 64}, "1 to 64 inputs"),
        ({"input": "x"}, "the text 'action'"),
        ({"input": without("principal", "id")}, "'principal' of the policy input"),
        ({"input": without("resource", "system")}, "'resource' of the policy input"),
        ({"input": call(roles="reader")}, "'principal.roles'"),
        ({"input": call(attributes={"weight": 0.5})}, "float"),
    ],
)
def test_a_malformed_sample_is_refused_with_its_file_and_line(tmp_path: Path, document: Any, words: str) -> None:
    path = lines(tmp_path / "samples.jsonl", {"input": call()}, document)
    with pytest.raises(RecordedError) as refused:
        list(read_samples(path))
    assert str(refused.value).startswith(f"{path}:2: ")
    assert words in str(refused.value)


@pytest.mark.parametrize("content", [b"{", b"\xff\n", b'{"input": NaN}\n'])
def test_what_is_not_json_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s"
    path.write_bytes(b"\n" + content)
    with pytest.raises(RecordedError, match=":2: not JSON"):
        list(read_samples(path))


def test_an_oversized_line_is_refused_before_it_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_bytes(b" " * (MAX_LINE_BYTES + 5))
    with pytest.raises(RecordedError, match=f":1: the line is longer than {MAX_LINE_BYTES} bytes"):
        list(read_samples(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordedError, match="nowhere cannot be read"):
        list(read_samples(tmp_path / "nowhere"))


def test_merging_sums_counts_and_keeps_the_ends_of_the_time() -> None:
    one, two = recorded(call(), time=5, count=2, tokens=3, decision="allow"), recorded(call(), time=9, decision="allow")
    other = recorded(call("bob"), time=7)
    first, second = merged([one, other, two])
    assert (first.time, first.first, first.count, first.tokens, first.decision) == (9, 5, 3, 3, "allow")
    assert second == other


def test_merging_forgets_decisions_that_differ() -> None:
    (both,) = merged([recorded(call(), decision="allow"), recorded(call(), decision="deny")])
    assert both.decision == ""


def test_records_are_joined_with_their_outcomes_and_cut_to_the_period(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "r",
        intent("a", NOW - 10),
        intent("b", NOW),
        outcome("b", 42),
        outcome("a", 1),
        {"type": "agent.registered", "time": "1"},
    )
    (found,) = read_records(path, NOW - 5, NOW + 1)
    assert (found.time, found.tokens, found.decision, found.chain) == (NOW, 42, "allow", chain_of([call()]))


def test_a_chain_of_delegation_is_kept_whole(tmp_path: Path) -> None:
    path = lines(tmp_path / "r", intent("a", delegated_inputs=[call("bob")]))
    assert [each["principal"]["id"] for each in orjson.loads(read_records(path)[0].chain)] == [
        "spiffe://t.test/agent/ann",
        "spiffe://t.test/agent/bob",
    ]


def test_only_denials_by_policy_count_as_recorded_denials(tmp_path: Path) -> None:
    denied = {"type": "access.denied", "decision": "deny"}
    path = lines(
        tmp_path / "r",
        intent("a", **denied, problem="policy-denied"),
        intent("b", **denied, problem="quota-exceeded"),
        intent("c", **denied, problem="identity-refused", policy_input={}),
        intent("d", type="admin.request", decision="deny"),
        intent("e", type="quota.exceeded", decision="deny", problem="quota-exceeded"),
    )
    assert [each.decision for each in read_records(path)] == ["deny", "", "deny", ""]


@pytest.mark.parametrize(
    "broken", [{"policy_input": {"action": 1}}, {"delegated_inputs": 3}, {"type": "access.outcome"}]
)
def test_a_record_of_another_form_is_refused_with_file_and_line(tmp_path: Path, broken: dict[str, Any]) -> None:
    path = lines(tmp_path / "r", intent("a"), intent("b", **broken))
    with pytest.raises(RecordedError, match=f"{path}:2: not a record of a decision"):
        read_records(path)


def test_the_log_is_read_from_all_chains(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, "example.org/audit")
    for chain, event in (("worker-0", "a"), ("worker-1", "b")):
        writer, head, batch = store.open_writer(chain), Head(), []
        documents = [(NOW - 100, intent("old" + event)), (NOW, intent(event)), (NOW, outcome(event, 5))]
        for time, document in documents:
            fields = {key: value for key, value in document.items() if key not in {"type", "event_id", "time"}}
            linked = link(head, store.log, chain, document["event_id"], time * SECOND, document["type"], fields)
            head = Head(linked.sequence, linked.hash)
            batch.append(linked)
        writer.append(batch)
        writer.close()
    found = read_log(store, NOW - 50)
    assert [(each.time, each.tokens) for each in found] == [(NOW, 5), (NOW, 5)]
    assert found[0].chain is found[1].chain
    assert len(read_log(store)) == 4


def test_pseudonyms_hide_people_and_keep_who_the_policies_name() -> None:
    names = Pseudonyms(revision().policies, b"k" * 32)
    kept, hidden, again = names.applied(
        [recorded(call("ann", attributes={"phone": "1"})), recorded(call("bob")), recorded(call("bob", model="x"))]
    )
    ann, bob, bob_again = (orjson.loads(each.chain)[0]["principal"] for each in (kept, hidden, again))
    assert ann["id"] == "spiffe://t.test/agent/ann"
    assert ann["attributes"] == {}
    assert bob["id"].startswith("spiffe://t.test/pseudonym/")
    assert bob["id"] == bob_again["id"]
    assert b"bob" not in hidden.chain
    assert b"ann@" not in kept.chain


def test_a_sample_that_would_be_decided_otherwise_without_the_name_is_left_out() -> None:
    rego = """package govgateway.authz
default decision := {"allow": false, "reasons": ["default_deny"], "obligations": [], "cache_seconds": 0}
decision := {"allow": true, "reasons": [], "obligations": [], "cache_seconds": 0} if {
	"reader" in input.principal.roles
	input.principal.owner == "bob@t.test"
}
"""
    names = Pseudonyms(revision(rego=rego).policies, b"k" * 32)
    assert list(names.applied([recorded(call("bob"), count=4)])) == []
    assert names.left_out == 4
