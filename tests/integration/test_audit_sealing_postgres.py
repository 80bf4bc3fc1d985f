"""Sealed content in a real PostgreSQL: the same behaviour as in a file, and several processes at once."""

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, text

from audit.event_id import uuid7
from audit.sealing import AccessRefusedError, Content, ContentErasedError, SealingError, SqlContentStore, prepare
from audit.sealing.errors import KeyGoneError
from tests.support.postgres_server import PostgresServer
from tests.support.sealed_world import LOG, World

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    server.start()
    yield server
    server.remove()


@pytest.fixture
def world(server: PostgresServer) -> Iterator[World]:
    name = f"test_{uuid7().replace('-', '_')}"
    server.execute(f"CREATE DATABASE {name}")
    engine = prepare(create_engine(server.url_of("audit", name).replace("postgresql:", "postgresql+psycopg:", 1)))
    yield World(engine)
    engine.dispose()


def test_content_is_sealed_opened_searched_and_erased(world: World) -> None:
    mine, other = world.seal(b"mine", subject="one", case="c"), world.seal(b"other", subject="two")
    assert world.sealer.open(mine, "request")[1].content == b"mine"
    found = world.erasure().search("case", "c", "dpo", "a test")
    assert [item.event_id for item in found] == [mine]
    (fields,) = world.erasure().erase("subject", "one", "dpo", "asked to")
    assert fields["contents"] == 1
    assert world.erasure().erase("subject", "one", "dpo", "asked to") == [fields]
    with pytest.raises(ContentErasedError):
        world.sealer.open(mine, "request")
    assert world.sealer.open(other, "request")[1].content == b"other"
    with world.engine.connect() as connection:
        left = connection.execute(
            text("SELECT coalesce(sum(length(wrapped)), 0) FROM content_keys WHERE erasure <> ''")
        )
        assert left.scalar() == 0


def test_a_part_is_sealed_once_and_a_batch_whole_or_not_at_all(world: World) -> None:
    taken, fresh = world.seal(b"first"), uuid7()
    with pytest.raises(SealingError, match="already"):
        world.sealer.seal([Content(fresh, "request", "a", "", b"x"), Content(taken, "request", "a", "", b"y")])
    assert world.store.item(fresh, "request") is None


def test_two_people_open_once(world: World) -> None:
    event_id = world.seal(b"prompt")
    access = world.access(two_people=True)
    asked = access.request(event_id, "request", "anna", "incident 4")
    access.approve(asked.request_id, "bert")
    assert access.open_content(event_id, "request", "anna", "incident 4", asked.request_id).content == b"prompt"
    with pytest.raises(AccessRefusedError, match="used already"):
        access.open_content(event_id, "request", "anna", "incident 4", asked.request_id)


def test_removed_items_take_their_keys_with_them(world: World) -> None:
    event_id = world.seal(b"prompt")
    key_id = world.store.item(event_id, "request").key_id  # type: ignore[union-attr] # it was just sealed
    assert world.store.remove_items([event_id]) == 1
    assert world.store.keys([key_id]) == {}


def test_processes_that_seal_for_one_subject_at_once_share_its_key(world: World) -> None:
    events = [uuid7() for _ in range(8)]
    begin = threading.Barrier(len(events))
    sealers = [world.make_sealer() for _ in events]

    def run(number: int) -> None:
        begin.wait()
        sealers[number].seal([Content(events[number], "request", "new", "", b"x")])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(events))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    items = [world.store.item(each, "request") for each in events]
    assert all(items)
    assert len({item.key_id for item in items if item}) == 1


def test_an_erasure_waits_for_content_that_is_being_kept_and_takes_it_too(world: World) -> None:
    event_id = world.seal(b"first")
    item = world.store.item(event_id, "request")
    assert item is not None
    scope = world.sealer.scope("subject", "user-1")
    other = SqlContentStore(world.engine, LOG)
    with world.engine.begin() as sealing:
        sealing.execute(text("SELECT key_id FROM content_keys FOR SHARE"))
        erasing = threading.Thread(target=other.begin_erasure, args=(uuid7(), scope, "dpo", "asked to", 1))
        erasing.start()
        erasing.join(0.3)
        assert erasing.is_alive()
    erasing.join()
    with pytest.raises(KeyGoneError):
        world.store.add_items([item])
