from typing import Any

import pytest
from sqlalchemy import text

from audit.sealing import ContentErasedError, ContentMissingError, ErasureHeldError, SealingError


class KilledError(Exception):
    """Stands for the end of the process."""


def test_erased_content_does_not_open_and_its_bytes_are_gone_from_the_files(world: Any) -> None:
    erased, kept = world.seal(b"of one", subject="one"), world.seal(b"of two", subject="two")
    item = world.store.item(erased, "request")
    wrapped = world.store.keys([item.key_id])[item.key_id].wrapped
    for secret in (wrapped, item.seed, item.blob):
        assert secret in world.files()

    (fields,) = world.erasure().erase("subject", "one", "dpo", "Art. 17 request 12")

    with pytest.raises(ContentErasedError, match="rendered inaccessible"):
        world.sealer.open(erased, "request")
    assert world.sealer.open(kept, "request")[1].content == b"of two"
    for secret in (wrapped, item.seed, item.blob):
        assert secret not in world.files()
    assert fields["principal"] == "dpo"
    assert fields["cause"] == "Art. 17 request 12"
    assert fields["keys"] == [item.key_id]
    assert fields["contents"] == 1
    assert fields["backups"] == ["nightly"]
    assert world.told("content.erased") == [fields]


def test_the_intent_is_on_record_before_anything_is_destroyed(world: Any) -> None:
    event_id = world.seal(b"x")
    erasure = world.erasure()

    def refuse(record_type: str, fields: dict[str, Any]) -> None:
        raise KilledError(record_type)

    erasure._record = refuse
    with pytest.raises(KilledError, match=r"content\.erasing"):
        erasure.erase("subject", "user-1", "dpo", "asked to")
    item = world.store.item(event_id, "request")
    assert item.seed
    assert world.store.keys([item.key_id])[item.key_id].wrapped


def test_erasing_twice_gives_the_same_answer_and_no_second_record(world: Any) -> None:
    world.seal(b"x")
    first = world.erasure().erase("subject", "user-1", "dpo", "asked to")
    second = world.erasure().erase("subject", "user-1", "other", "asked again")
    assert first == second
    assert len(world.told("content.erased")) == 1


def test_what_comes_after_an_erasure_is_sealed_anew_and_erased_anew(world: Any) -> None:
    world.seal(b"x")
    (first,) = world.erasure().erase("subject", "user-1", "dpo", "asked to")
    later = world.seal(b"y")
    assert world.sealer.open(later, "request")[1].content == b"y"
    (second,) = world.erasure().erase("subject", "user-1", "dpo", "asked again")
    assert first["erasure"] != second["erasure"]
    with pytest.raises(ContentErasedError):
        world.sealer.open(later, "request")


@pytest.mark.parametrize("kind", ["subject", "case"])
def test_either_the_subject_or_the_case_takes_what_stands_under_both(world: Any, kind: str) -> None:
    both = world.seal(b"both", subject="name", case="name")
    alone = world.seal(b"alone", subject="somebody", case="")
    (fields,) = world.erasure().erase(kind, "name", "dpo", "closed")
    assert fields["contents"] == 1
    with pytest.raises(ContentErasedError):
        world.sealer.open(both, "request")
    assert world.sealer.open(alone, "request")[1].content == b"alone"


def test_a_subject_of_whom_nothing_is_sealed_cannot_be_erased(world: Any) -> None:
    with pytest.raises(ContentMissingError):
        world.erasure().erase("subject", "nobody", "dpo", "asked to")
    assert world.records == []


def test_a_legal_hold_keeps_the_content(world: Any) -> None:
    event_id = world.seal(b"evidence")
    world.held = "the legal hold h1 keeps it"
    with pytest.raises(ErasureHeldError, match="h1"):
        world.erasure().erase("subject", "user-1", "dpo", "asked to")
    assert world.sealer.open(event_id, "request")[1].content == b"evidence"
    assert world.records == []


def test_erasing_and_searching_need_a_reason(world: Any) -> None:
    world.seal(b"x")
    with pytest.raises(SealingError, match="reason"):
        world.erasure().erase("subject", "user-1", "dpo", "  ")
    with pytest.raises(SealingError, match="reason"):
        world.erasure().search("subject", "user-1", "dpo", "")


def test_a_search_finds_what_is_sealed_of_a_subject_and_is_on_record(world: Any) -> None:
    first, second = world.seal(b"1"), world.seal(b"2", case="c", part="response")
    world.seal(b"3", subject="user-2")
    found = world.erasure().search("subject", "user-1", "dpo", "Art. 15 request")
    assert [(item.event_id, item.part) for item in found] == [(first, "request"), (second, "response")]
    assert [item.event_id for item in world.erasure().search("case", "c", "dpo", "audit")] == [second]
    assert [fields["contents"] for fields in world.told("content.searched")] == [2, 1]
    assert all("user-1" not in str(fields) for fields in world.told("content.searched"))


STEPS = ["content.erasing", "destroy", "destroyed", "content.erased", "confirm"]


@pytest.mark.parametrize("killed_at", STEPS)
@pytest.mark.parametrize("again", ["resume", "erase"])
def test_an_erasure_that_was_killed_is_finished(world: Any, killed_at: str, again: str) -> None:
    event_id = world.seal(b"x")
    store = world.store
    destroy, confirm = store.destroy, store.confirm_erasure

    def record(record_type: str, fields: dict[str, Any]) -> None:
        if record_type == killed_at:
            raise KilledError
        world.record(record_type, fields)

    def destroying(erasure_id: str, now: int) -> None:
        if killed_at == "destroy":
            raise KilledError
        destroy(erasure_id, now)
        if killed_at == "destroyed":
            raise KilledError

    def confirming(erasure_id: str, now: int) -> None:
        if killed_at == "confirm":
            raise KilledError
        confirm(erasure_id, now)

    store.destroy, store.confirm_erasure = destroying, confirming
    erasure = world.erasure()
    erasure._record = record
    with pytest.raises(KilledError):
        erasure.erase("subject", "user-1", "dpo", "asked to")
    store.destroy, store.confirm_erasure = destroy, confirm

    erasure = world.erasure()
    done = erasure.resume() if again == "resume" else erasure.erase("subject", "user-1", "dpo", "asked to")
    assert len(done) == 1
    assert {fields["erasure"] for fields in world.told("content.erased")} == {done[0]["erasure"]}
    assert world.told("content.erasing")
    assert erasure.resume() == []
    with pytest.raises(ContentErasedError):
        world.sealer.open(event_id, "request")
    with world.engine.connect() as connection:
        assert connection.execute(text("SELECT length(wrapped) FROM content_keys")).scalars().all() == [0]
        assert connection.execute(text("SELECT length(seed) + length(blob) FROM content_items")).scalars().all() == [0]


def test_removing_the_items_of_calls_takes_keys_that_nothing_is_left_under(world: Any) -> None:
    first, second = world.seal(b"1"), world.seal(b"2")
    key_id = world.store.item(first, "request").key_id
    assert world.store.remove_items([first]) == 1
    assert key_id in world.store.keys([key_id])
    assert world.store.remove_items([second, first]) == 1
    assert world.store.keys([key_id]) == {}
    third = world.seal(b"3")
    assert world.sealer.open(third, "request")[1].content == b"3"
