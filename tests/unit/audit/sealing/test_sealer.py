import secrets
import stat
from typing import Any

import pytest
from sqlalchemy import text

from audit.event_id import uuid7
from audit.sealing import (
    Content,
    ContentErasedError,
    ContentMissingError,
    SealBrokenError,
    SealingError,
    SealingUnavailableError,
)
from audit.sealing.errors import KeyGoneError


def test_sealed_content_opens_and_lies_nowhere_in_clear(world: Any) -> None:
    event_id = world.seal(b"the patient is Ada Lovelace", subject="ada.lovelace")
    item, opened = world.sealer.open(event_id, "request")
    assert opened.content == b"the patient is Ada Lovelace"
    assert item.size == 27
    stored = world.files()
    assert b"Lovelace" not in stored
    assert b"ada.lovelace" not in stored


def test_the_files_are_readable_by_their_owner_alone(world: Any) -> None:
    world.seal(b"x")
    assert stat.S_IMODE(world.directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in world.directory.iterdir()} == {0o600}


def test_the_record_holds_a_commitment_and_no_pseudonym(world: Any) -> None:
    event_id = uuid7()
    (fields,) = world.sealer.seal([Content(event_id, "response", "user-1", "case-7", b"answer")])
    item, opened = world.sealer.open(event_id, "response")
    assert fields == {
        "of": event_id,
        "content": item.item_id,
        "part": "response",
        "bytes": 6,
        "commitment": opened.commitment,
        "key": item.key_id,
        "case_key": item.case_key_id,
    }
    assert item.subject not in fields.values()


def test_a_subject_has_one_key_and_another_subject_another(world: Any) -> None:
    first, second, other = world.seal(b"1"), world.seal(b"2"), world.seal(b"3", subject="user-2")
    keys = [world.store.item(each, "request").key_id for each in (first, second, other)]
    assert keys[0] == keys[1] != keys[2]


def test_a_restart_finds_the_same_key(world: Any) -> None:
    first = world.seal(b"1")
    world.sealer = world.make_sealer()
    second = world.seal(b"2")
    assert world.store.item(first, "request").key_id == world.store.item(second, "request").key_id
    assert world.sealer.open(first, "request")[1].content == b"1"


def test_another_wrapping_key_opens_nothing(world: Any) -> None:
    event_id = world.seal(b"prompt")
    with pytest.raises(SealBrokenError, match="wrapping key is another one"):
        world.make_sealer(secrets.token_bytes(32)).open(event_id, "request")


def test_swapped_ciphertexts_of_one_subject_do_not_open(world: Any) -> None:
    first, second = world.seal(b"first"), world.seal(b"second")
    with world.engine.begin() as connection:
        rows = connection.execute(text("SELECT event_id, seed, blob, commitment FROM content_items")).all()
        (a, b) = rows
        for target, source in ((a, b), (b, a)):
            connection.execute(
                text("UPDATE content_items SET seed = :s, blob = :b, commitment = :c WHERE event_id = :e"),
                {"s": source.seed, "b": source.blob, "c": source.commitment, "e": target.event_id},
            )
    for event_id in (first, second):
        with pytest.raises(SealBrokenError, match="does not open"):
            world.sealer.open(event_id, "request")


def test_a_key_moved_to_another_subject_does_not_unwrap(world: Any) -> None:
    event_id = world.seal(b"first")
    with world.engine.begin() as connection:
        connection.execute(text("UPDATE content_keys SET pseudonym = :p"), {"p": "00" * 32})
    with pytest.raises(SealBrokenError):
        world.sealer.open(event_id, "request")


def test_what_was_never_sealed_is_missing(world: Any) -> None:
    with pytest.raises(ContentMissingError):
        world.sealer.open(uuid7(), "request")


def test_a_part_is_sealed_once(world: Any) -> None:
    event_id = world.seal(b"first")
    with pytest.raises(SealingError, match="already"):
        world.sealer.seal([Content(event_id, "request", "user-1", "", b"second")])
    assert world.sealer.open(event_id, "request")[1].content == b"first"


@pytest.mark.parametrize(("part", "subject"), [("prompt", "user-1"), ("request", " ")])
def test_a_part_or_subject_that_is_none_is_refused(world: Any, part: str, subject: str) -> None:
    with pytest.raises(SealingError):
        world.sealer.seal([Content(uuid7(), part, subject, "", b"x")])


def test_a_batch_is_sealed_whole_or_not_at_all(world: Any) -> None:
    taken, fresh = world.seal(b"first"), uuid7()
    with pytest.raises(SealingError):
        world.sealer.seal([Content(fresh, "request", "a", "", b"x"), Content(taken, "request", "a", "", b"y")])
    assert world.store.item(fresh, "request") is None


def test_content_sealed_while_its_key_is_destroyed_goes_under_a_new_key(world: Any) -> None:
    before = world.seal(b"before")
    store, add = world.store, world.store.add_items

    def overtaken(items: Any) -> None:
        store.add_items = add
        world.erasure().erase("subject", "user-1", "dpo", "asked to")
        add(items)

    store.add_items = overtaken
    after = world.seal(b"after")
    with pytest.raises(ContentErasedError):
        world.sealer.open(before, "request")
    assert world.sealer.open(after, "request")[1].content == b"after"


def test_a_key_that_goes_again_and_again_refuses_the_content(world: Any) -> None:
    def gone(_: Any) -> None:
        raise KeyGoneError("gone")

    world.store.add_items = gone
    with pytest.raises(SealingUnavailableError):
        world.seal(b"x")


def test_a_store_that_fails_says_so_without_the_content(world: Any) -> None:
    with world.engine.begin() as connection:
        connection.execute(text("DROP TABLE content_items"))
    with pytest.raises(SealingUnavailableError) as caught:
        world.seal(b"very private words")
    assert "private" not in str(caught.value)
    assert caught.value.__cause__ is None
