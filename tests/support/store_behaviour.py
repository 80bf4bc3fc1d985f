"""What every store of chains does, as tests; a class for each real store runs them on it."""

import subprocess
import sys
import textwrap
import threading
from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from audit.chain import GENESIS, Head, Linked, link, record_hash
from audit.errors import AuditStoreError
from audit.event_id import uuid7
from audit.store import AuditStore, ChainWriter

LOG = "example.org/audit"
START_NS = 1_800_000_000_000_000_000
ROOT = Path(__file__).resolve().parents[2]

HOLDER = """
import sys, time
from pathlib import Path
from audit.store import open_store
writer = open_store(sys.argv[1], sys.argv[2], heads=Path(sys.argv[3])).open_writer("chain")
print("held", flush=True)
time.sleep(60)
"""


class World(ABC):
    """One real store, and what somebody with full rights on it can do."""

    where: str
    heads: Path

    @abstractmethod
    def open(self, log: str = LOG) -> AuditStore:
        """Open the store anew, as another process would."""

    @abstractmethod
    def execute(self, chain: str, statement: str) -> None:
        """Change the rows of a chain behind the store: `{records}` is its table, `{where}` selects the chain's rows."""

    @abstractmethod
    def make_newer(self, chain: str) -> None:
        """Make the tables look like those of a newer gateway."""


def linked(
    head: Head, count: int, *, chain: str = "chain", log: str = LOG, text: str = "ä\N{PILE OF POO}\0"
) -> list[Linked]:
    """Link `count` records after a head."""
    records = []
    for _ in range(count):
        number = head.sequence + 1
        records.append(link(head, log, chain, uuid7(), START_NS + number, "test.event", {"text": text, "n": number}))
        head = Head(number, records[-1].hash)
    return records


def write(writer: ChainWriter, count: int) -> list[Linked]:
    """Append `count` records in one transaction and return them."""
    records = linked(writer.head, count, chain=writer.chain)
    writer.append(records)
    return records


def stored(store: AuditStore, chain: str = "chain") -> list[Linked]:
    """Read a chain whole, checking its links."""
    with store.reader(chain) as reader:
        rows = list(reader.records())
    for row in rows:
        assert record_hash(row.record) == row.hash
    return [Linked(r.sequence, r.event_id, r.time_ns, r.type, r.hash, r.record) for r in rows]


class StoreBehaviour:
    """Tests; `world` is a fixture of the class that inherits."""

    def test_what_was_appended_is_read_back_as_it_was(self, world: World):
        store = world.open()
        writer = store.open_writer("chain")
        assert writer.head == Head(-1, GENESIS)
        first, second = write(writer, 7), write(writer, 3)
        assert stored(store) == first + second
        assert writer.head == writer.read_head() == Head(9, second[-1].hash)
        assert writer.last_time_ns == second[-1].time_ns
        writer.close()

    def test_a_batch_of_a_thousand_is_one(self, world: World):
        store = world.open()
        writer = store.open_writer("chain")
        records = write(writer, 1000)
        writer.close()
        assert stored(store) == records

    def test_a_long_record_keeps_every_byte(self, world: World):
        store = world.open()
        writer = store.open_writer("chain")
        records = linked(writer.head, 1, text="x" * 60_000)
        writer.append(records)
        writer.close()
        assert stored(store) == records

    @pytest.mark.parametrize(
        ("start", "stop", "batch"), [(0, None, 1), (3, None, 2), (0, 5, 5), (2, 9, 3), (8, 8, 4), (20, None, 4)]
    )
    def test_a_part_of_a_chain_is_read_in_order_whatever_is_read_at_once(self, world: World, start, stop, batch):
        store = world.open()
        writer = store.open_writer("chain")
        write(writer, 10)
        writer.close()
        with store.reader("chain") as reader:
            found = [record.sequence for record in reader.records(start, stop=stop, batch=batch)]
        assert found == list(range(10))[start:stop]

    def test_first_last_count_and_find(self, world: World):
        store = world.open()
        writer = store.open_writer("chain")
        with store.reader("chain") as reader:
            assert (reader.count(), reader.first(), reader.last(3)) == (0, None, [])
        records = write(writer, 5)
        writer.close()
        with store.reader("chain") as reader:
            assert reader.count() == 5
            assert reader.first().hash == records[0].hash
            assert [record.sequence for record in reader.last(2)] == [3, 4]
            assert reader.find(records[2].event_id).record == records[2].record
            assert reader.find(uuid7()) is None
        assert store.find(records[4].event_id).sequence == 4
        assert store.find(uuid7()) is None

    def test_chains_are_apart(self, world: World):
        store = world.open()
        writers = [store.open_writer(chain) for chain in ("worker-1", "worker-0")]
        wrote = {writer.chain: write(writer, 2 + number) for number, writer in enumerate(writers)}
        for writer in writers:
            writer.close()
        assert store.chains() == store.expected_chains() == ["worker-0", "worker-1"]
        assert {chain: stored(store, chain) for chain in store.chains()} == wrote

    def test_a_store_that_nobody_wrote_has_no_chains(self, world: World):
        store = world.open()
        assert store.chains() == store.expected_chains() == []
        assert store.find(uuid7()) is None
        with pytest.raises(AuditStoreError, match="it has: none"):
            store.reader("chain").__enter__()

    @pytest.mark.parametrize("name", ["", "../x", "Worker", "a b", "-a", "x" * 64])
    def test_a_name_that_no_chain_may_have_is_refused(self, world: World, name: str):
        with pytest.raises(AuditStoreError, match="not a name"):
            world.open().open_writer(name)

    def test_a_writer_goes_on_where_the_last_one_ended(self, world: World):
        writer = world.open().open_writer("chain")
        records = write(writer, 3)
        writer.close()
        again = world.open().open_writer("chain")
        assert again.head == Head(2, records[2].hash)
        assert again.last_time_ns == records[2].time_ns
        write(again, 1)
        again.close()

    def test_a_second_writer_is_refused_until_the_first_gives_the_chain_back(self, world: World):
        first = world.open().open_writer("chain")
        with pytest.raises(AuditStoreError, match="another process"):
            world.open().open_writer("chain")
        write(first, 1)
        first.close()
        world.open().open_writer("chain").close()

    def test_a_chain_held_by_another_process_is_refused_and_free_once_that_is_killed(self, world: World):
        holder = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(HOLDER), world.where, LOG, str(world.heads)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(AuditStoreError, match="another process"):
                world.open().open_writer("chain")
        finally:
            holder.kill()
            holder.wait(10)
            holder.stdout.close()
        world.open().open_writer("chain").close()

    def test_a_record_in_a_place_that_is_taken_is_refused_with_its_whole_batch(self, world: World):
        store = world.open()
        writer = store.open_writer("chain")
        records = write(writer, 3)
        other = linked(Head(0, records[0].hash), 5)
        with pytest.raises(AuditStoreError):
            writer.append(other)
        assert writer.read_head() == Head(2, records[2].hash)
        assert stored(store) == records
        write(writer, 1)
        writer.close()

    def test_the_end_is_noted(self, world: World):
        store = world.open()
        writer = store.open_writer("chain")
        write(writer, 3)
        with store.reader("chain") as reader:
            assert reader.expected_head() == Head()
            writer.record_head()
            assert reader.expected_head() == writer.head
        writer.close()

    @pytest.mark.parametrize("harm", [
        "DELETE FROM {records} WHERE seq > 1 AND {where}",
        "DELETE FROM {records} WHERE {where}",
        "UPDATE {records} SET hash = 'x' WHERE seq = 4 AND {where}",
    ])  # fmt: skip
    def test_a_chain_that_is_not_what_was_noted_is_refused_for_writing(self, world: World, harm: str):
        writer = world.open().open_writer("chain")
        write(writer, 5)
        writer.close()
        world.execute("chain", harm)
        with pytest.raises(AuditStoreError, match="older or a changed copy"):
            world.open().open_writer("chain")
        with world.open().reader("chain") as reader:
            assert reader.expected_head().sequence == 4

    def test_tables_of_a_newer_gateway_are_refused(self, world: World):
        world.open().open_writer("chain").close()
        world.make_newer("chain")
        with pytest.raises(AuditStoreError, match="newer gateway"):
            world.open().open_writer("chain")
        with pytest.raises(AuditStoreError, match="newer gateway"):
            world.open().reader("chain").__enter__()

    def test_what_retention_deletes_is_gone_and_the_rest_goes_on(self, world: World):
        store = world.open()
        writer = store.open_writer("chain")
        records = write(writer, 5000) + write(writer, 10)
        writer.record_head()
        assert store.delete_before("chain", 4321) == 4321
        records += write(writer, 1)
        assert stored(store) == records[4321:]
        with store.reader("chain") as reader:
            assert (reader.first().sequence, reader.count()) == (4321, 690)
        assert store.find(records[0].event_id) is None
        assert store.delete_before("chain", 4321) == 0
        writer.close()
        again = world.open().open_writer("chain")
        assert again.head == Head(5010, records[-1].hash)
        again.close()

    def test_retention_leaves_the_last_record_and_the_noted_one(self, world: World):
        store = world.open()
        writer = store.open_writer("chain")
        write(writer, 10)
        assert store.delete_before("chain", 100) == 0
        writer.record_head()
        write(writer, 10)
        assert store.delete_before("chain", 100) == 9
        writer.close()
        assert store.delete_before("chain", 100) == 10
        with store.reader("chain") as reader:
            assert (reader.first().sequence, reader.count()) == (19, 1)
        again = world.open().open_writer("chain")
        assert again.head.sequence == 19
        again.close()

    def test_a_writer_appends_while_retention_deletes(self, world: World):
        store = world.open()
        writer = store.open_writer("chain")
        for _ in range(3):
            write(writer, 1000)
        writer.record_head()
        deleter = threading.Thread(target=store.delete_before, args=("chain", 2900))
        deleter.start()
        records = [write(writer, 1)[0]]
        while deleter.is_alive():
            records += write(writer, 5)
        deleter.join()
        writer.close()
        kept = stored(store)
        assert kept[0].sequence == 2900
        assert kept[100:] == records

    def test_nothing_is_deleted_of_a_chain_that_is_not_there(self, world: World):
        with pytest.raises(AuditStoreError, match="no log"):
            world.open().delete_before("chain", 5)
