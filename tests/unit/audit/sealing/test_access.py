from typing import Any

import pytest

from audit.sealing import AccessRefusedError, ContentErasedError, ContentMissingError
from audit.sealing.tables import requests


def test_opening_is_on_record_before_the_content_is_returned(world: Any) -> None:
    event_id = world.seal(b"prompt")
    revealed = world.access().open_content(event_id, "request", "anna", "incident 4")
    assert revealed.content == b"prompt"
    (fields,) = world.told("content.opened")
    assert fields["principal"] == "anna"
    assert fields["cause"] == "incident 4"
    assert fields["of"] == event_id
    assert fields["approved_by"] == []


def test_what_cannot_be_recorded_is_not_shown(world: Any) -> None:
    event_id = world.seal(b"prompt")
    access = world.access()

    def broken(record_type: str, fields: dict[str, Any]) -> None:
        raise OSError("the disk is full")

    access._record = broken
    with pytest.raises(OSError, match="full"):
        access.open_content(event_id, "request", "anna", "incident 4")


@pytest.mark.parametrize(("reader", "reason"), [("mallory", "because"), ("anna", ""), ("anna", " \u200b "), ("", "x")])
def test_without_permission_or_reason_nothing_opens(world: Any, reader: str, reason: str) -> None:
    event_id = world.seal(b"prompt")
    with pytest.raises(AccessRefusedError):
        world.access().open_content(event_id, "request", reader, reason)
    assert world.records == []


def test_erased_or_missing_content_does_not_open_and_leaves_no_record_of_opening(world: Any) -> None:
    event_id = world.seal(b"prompt")
    world.erasure().erase("subject", "user-1", "dpo", "asked to")
    with pytest.raises(ContentErasedError):
        world.access().open_content(event_id, "request", "anna", "incident")
    with pytest.raises(ContentMissingError):
        world.access().open_content(event_id, "response", "anna", "incident")
    assert world.told("content.opened") == []


def test_two_people_open_once(world: Any) -> None:
    event_id = world.seal(b"prompt")
    access = world.access(two_people=True)
    request = access.request(event_id, "request", "anna", "incident 4")
    access.approve(request.request_id, "bert")
    revealed = access.open_content(event_id, "request", "anna", "incident 4", request.request_id)
    assert revealed.content == b"prompt"
    assert revealed.approved_by == ("bert",)
    assert [each for each, _ in world.records] == [
        "content.access_requested",
        "content.access_approved",
        "content.opened",
    ]
    with pytest.raises(AccessRefusedError, match="used already"):
        access.open_content(event_id, "request", "anna", "again", request.request_id)


def test_a_request_is_used_up_although_its_record_failed(world: Any) -> None:
    event_id = world.seal(b"prompt")
    access = world.access(two_people=True)
    request = access.request(event_id, "request", "anna", "incident 4")
    access.approve(request.request_id, "bert")

    def broken(record_type: str, fields: dict[str, Any]) -> None:
        raise OSError("the disk is full")

    access._record = broken
    with pytest.raises(OSError, match="full"):
        access.open_content(event_id, "request", "anna", "incident 4", request.request_id)
    with pytest.raises(AccessRefusedError, match="used already"):
        access.open_content(event_id, "request", "anna", "incident 4", request.request_id)


@pytest.mark.parametrize("approver", ["anna", "ANNA", "an\u200bna", "mallory", ""])
def test_nobody_approves_for_themselves_or_without_permission(world: Any, approver: str) -> None:
    event_id = world.seal(b"prompt")
    access = world.access(two_people=True)
    request = access.request(event_id, "request", "anna", "incident 4")
    with pytest.raises(AccessRefusedError):
        access.approve(request.request_id, approver)
    with pytest.raises(AccessRefusedError, match="nobody approved"):
        access.open_content(event_id, "request", "anna", "incident 4", request.request_id)


def test_two_people_are_asked_for_even_when_no_request_is_named(world: Any) -> None:
    event_id = world.seal(b"prompt")
    with pytest.raises(AccessRefusedError, match="two people"):
        world.access(two_people=True).open_content(event_id, "request", "anna", "incident 4")


def test_an_approval_is_for_one_item_and_one_person(world: Any) -> None:
    first, second = world.seal(b"1"), world.seal(b"2")
    access = world.access(two_people=True)
    request = access.request(first, "request", "anna", "incident 4")
    access.approve(request.request_id, "bert")
    with pytest.raises(AccessRefusedError, match="is for the request of"):
        access.open_content(second, "request", "anna", "incident 4", request.request_id)
    with pytest.raises(AccessRefusedError, match="anna's"):
        access.open_content(first, "request", "bert", "incident 4", request.request_id)


def test_a_request_expires_before_and_after_its_approval(world: Any) -> None:
    event_id = world.seal(b"prompt")
    access = world.access(two_people=True)
    late, early = (access.request(event_id, "request", "anna", "incident 4") for _ in range(2))
    access.approve(early.request_id, "bert")
    world.now_ns += 600 * 1_000_000_000
    with pytest.raises(AccessRefusedError, match="expired"):
        access.approve(late.request_id, "bert")
    with pytest.raises(AccessRefusedError, match="expired"):
        access.open_content(event_id, "request", "anna", "incident 4", early.request_id)


@pytest.mark.parametrize("change", ["approver", "requester", "reason"])
def test_a_request_changed_in_the_store_does_not_count(world: Any, change: str) -> None:
    event_id = world.seal(b"prompt")
    access = world.access(two_people=True)
    request = access.request(event_id, "request", "anna", "incident 4")
    with world.engine.begin() as connection:
        connection.execute(requests.update().values({change: "bert"}))
    with pytest.raises(AccessRefusedError, match="changed in the store"):
        access.open_content(event_id, "request", "anna", "incident 4", request.request_id)
