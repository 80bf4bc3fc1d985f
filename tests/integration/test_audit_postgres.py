"""A real PostgreSQL as a store of chains: what every store does, and what a database server does to it."""

import asyncio
import itertools
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from audit.chain import Head
from audit.errors import AuditBrokenError, AuditStoreError, AuditUnavailableError
from audit.log import AuditLog
from audit.store import AuditStore, SqliteStore, copy, open_store
from audit.store import database as database_module
from audit.store.postgres import PostgresStore
from tests.support.cutting_proxy import CuttingProxy
from tests.support.postgres_server import PostgresServer
from tests.support.store_behaviour import LOG, ROOT, StoreBehaviour, World, linked, stored, write

pytestmark = pytest.mark.interop

WRITER = """
import sys, time
from pathlib import Path
from audit.store import open_store
from tests.support.store_behaviour import linked
url, heads, chain, batches = sys.argv[1:]
store = open_store(url, "example.org/audit", heads=Path(heads))
writer = store.open_writer(chain)
for number in range(int(batches)):
    writer.append(linked(writer.head, 10, chain=chain))
writer.close()
"""

LOGGER = """
import asyncio, sys, time
from audit.log import AuditLog
from audit.store import open_store
async def main():
    log = AuditLog(open_store(sys.argv[1], "example.org/audit"), "chain", digest_key=b"k" * 32, clock=time.time_ns)
    async def one():
        while True:
            entry = log.append("test.event", {"text": "x" * 300})
            await entry.durable()
            sys.stdout.write(entry.event_id + "\\n")
            sys.stdout.flush()
    await asyncio.gather(*(one() for _ in range(30)))
asyncio.run(main())
"""


class PostgresWorld(World):
    def __init__(self, url: str, heads: Path) -> None:
        self.where = url
        self.heads = heads

    def open(self, log: str = LOG) -> PostgresStore:
        store = open_store(self.where, log, heads=self.heads)
        assert isinstance(store, PostgresStore)
        return store

    def execute(self, chain: str, statement: str) -> None:
        where = f"chain_id = (SELECT id FROM audit_chains WHERE chain = '{chain}')"  # noqa: S608 - a test's own name
        with psycopg.connect(self.where, autocommit=True) as connection:
            connection.execute(statement.format(records="audit_records", where=where).encode())

    def make_newer(self, chain: str) -> None:
        self.execute(chain, "UPDATE audit_version SET version_num = '9999'")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server for tests that leave it running."""
    server = PostgresServer()
    server.start()
    yield server
    server.remove()


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server of this test alone."""
    server = PostgresServer()
    server.start()
    yield server
    server.remove()


_databases = itertools.count()


@pytest.fixture
def world(server: PostgresServer, tmp_path: Path) -> PostgresWorld:
    name = f"test_{next(_databases)}"
    server.execute(f"CREATE DATABASE {name}")
    return PostgresWorld(server.url_of("audit", name), tmp_path / "heads")


class TestPostgresStore(StoreBehaviour):
    pass


def open_log(store: AuditStore, chain: str = "chain") -> AuditLog:
    return AuditLog(store, chain, digest_key=b"k" * 32, clock=time.time_ns)


def check_chain(store: AuditStore, acknowledged: set[str], chain: str = "chain") -> None:
    """Every link holds, and whatever was acknowledged is there once."""
    head, ids = Head(), []
    for record in stored(store, chain):
        assert record.sequence == head.sequence + 1
        assert f'"prev":"{head.hash}"'.encode() in record.record
        head = Head(record.sequence, record.hash)
        ids.append(record.event_id)
    assert len(ids) == len(set(ids))
    assert acknowledged <= set(ids)


async def append_until(log: AuditLog, acknowledged: set[str], stop: asyncio.Event) -> int:
    """Append as long as asked; return how many were refused."""
    refused = 0

    async def one() -> None:
        nonlocal refused
        try:
            entry = log.append("test.event", {"n": len(acknowledged)})
            await entry.durable()
        except AuditUnavailableError:
            refused += 1
            await asyncio.sleep(0.01)
        else:
            acknowledged.add(entry.event_id)

    while not stop.is_set():
        await asyncio.gather(*(one() for _ in range(20)))
    return refused


async def under_load(log: AuditLog, harm: Callable[[], None], times: int = 2) -> tuple[set[str], int]:
    """Do harm while records are appended, wait until the log works again, and return what was acknowledged."""
    acknowledged: set[str] = set()
    stop = asyncio.Event()
    load = asyncio.create_task(append_until(log, acknowledged, stop))
    for _ in range(times):
        await asyncio.sleep(0.3)
        await asyncio.to_thread(harm)
        before = len(acknowledged)
        async with asyncio.timeout(30):
            while len(acknowledged) <= before + 40:
                await asyncio.sleep(0.05)
    stop.set()
    return acknowledged, await load


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_restart_in_the_middle_of_commits_loses_nothing_that_was_acknowledged(own_server, tmp_path, mode):
    store = PostgresStore(own_server.url, LOG, heads=tmp_path)
    log = open_log(store)
    acknowledged, _ = await under_load(log, lambda: own_server.restart(mode))
    assert log.healthy
    await log.close()
    assert len(acknowledged) > 100
    check_chain(store, acknowledged)


async def test_a_terminated_session_is_taken_up_again(world: PostgresWorld, server: PostgresServer):
    store = world.open()
    log = open_log(store)
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'govgateway'"
    acknowledged, _ = await under_load(log, lambda: server.execute(end), times=5)
    await log.close()
    check_chain(store, acknowledged)


@pytest.fixture
def proxy(server: PostgresServer) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(server.directory / ".s.PGSQL.5432")
    yield proxy
    proxy.close()


def through(proxy: CuttingProxy, world: PostgresWorld) -> PostgresStore:
    database = world.where.split("/")[3].split("?")[0]
    return PostgresStore(
        f"postgresql://audit@127.0.0.1:{proxy.port}/{database}?sslmode=disable", LOG, heads=world.heads
    )


def test_a_commit_whose_answer_is_lost_is_found_by_reading_the_end(world: PostgresWorld, proxy: CuttingProxy):
    store = through(proxy, world)
    writer = store.open_writer("chain")
    records = write(writer, 3)
    more = linked(writer.head, 2)
    proxy.swallow = b"test.event"
    with pytest.raises(AuditStoreError):
        writer.append(more)
    assert proxy.cuts == 1
    assert writer.read_head() == Head(4, more[-1].hash)
    assert stored(world.open()) == records + more
    writer.close()


async def test_the_log_answers_records_whose_commit_was_not_answered(world: PostgresWorld, proxy: CuttingProxy):
    store = through(proxy, world)
    log = open_log(store)
    await log.append("test.event", {}).durable()
    proxy.swallow = b"test.event"
    linked = await log.append("test.event", {}).durable()
    assert proxy.cuts == 1
    assert linked.sequence == 1
    assert log.healthy
    await log.close()
    assert len(stored(world.open())) == 2


def test_a_session_that_the_server_still_believes_in_is_ended_when_its_writer_comes_back(
    world: PostgresWorld, proxy: CuttingProxy, server: PostgresServer
):
    store = through(proxy, world)
    writer = store.open_writer("chain")
    write(writer, 1)
    proxy.hang, proxy.swallow = True, b"test.event"
    # What a driver does when the network took the answer: it gives the connection up, and the server does not see it.
    failure: list[BaseException] = []
    lost = writer._connection.connection.driver_connection
    more = linked(writer.head, 1)

    def append() -> None:
        try:
            writer.append(more)
        except AuditStoreError as error:
            failure.append(error)

    thread = threading.Thread(target=append)
    thread.start()
    while not proxy.cuts:
        time.sleep(0.01)
    with socket.socket(fileno=os.dup(lost.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)
    thread.join(30)
    assert failure
    writer.head = writer.read_head()
    assert writer.head.sequence == 1
    write(writer, 1)
    writer.close()
    assert len(stored(world.open())) == 3


def test_a_lock_that_was_lost_does_not_let_two_write(world: PostgresWorld, server: PostgresServer):
    first = world.open().open_writer("chain")
    write(first, 2)
    # A pooler or a fail-over takes the lock away and leaves the session.
    first._connection.exec_driver_sql("SELECT pg_advisory_unlock_all()")
    second = world.open().open_writer("chain")
    with pytest.raises(AuditStoreError, match="another process has taken"):
        write(first, 1)
    with pytest.raises(AuditStoreError, match="another process has taken"):
        first.read_head()
    assert write(second, 1)[0].sequence == 2
    first.close()
    second.close()
    check_chain(world.open(), set())


def test_a_statement_under_way_is_over_before_the_next_writer_reads_the_end(world: PostgresWorld):
    first = world.open().open_writer("chain")
    write(first, 1)
    late = linked(first.head, 1)
    first._connection.exec_driver_sql("SELECT pg_advisory_unlock_all()")
    # Hold the old writer's statement between its check of the epoch and its commit.
    world.execute("chain", "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS "
                  "$$BEGIN PERFORM pg_sleep(1); RETURN new; END$$")  # fmt: skip
    world.execute("chain", "CREATE TRIGGER wait BEFORE INSERT ON audit_records FOR EACH ROW EXECUTE FUNCTION wait()")
    thread = threading.Thread(target=first.append, args=(late,))
    thread.start()
    time.sleep(0.3)
    second = world.open().open_writer("chain")
    assert second.head == Head(1, late[0].hash)
    thread.join(10)
    first.close()
    second.close()


def test_a_copy_taken_earlier_is_refused_by_a_writer_that_runs_and_by_a_new_one(own_server, tmp_path):
    store = PostgresStore(own_server.url, LOG, heads=tmp_path)
    writer = store.open_writer("chain")
    write(writer, 5)
    own_server.stop()
    shutil.copytree(own_server.data, own_server.directory / "copy")
    own_server.start()
    with pytest.raises(AuditStoreError):
        write(writer, 1)
    writer.head = writer.read_head()
    write(writer, 5)
    own_server.stop()
    shutil.rmtree(own_server.data)
    (own_server.directory / "copy").rename(own_server.data)
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", "nobody", own_server.data], check=True)
    own_server.start()
    with pytest.raises(AuditStoreError):
        writer.read_head()  # the connection is a dead one
    for _ in range(2):
        with pytest.raises(AuditBrokenError, match="older or a changed copy"):
            writer.read_head()
    with pytest.raises(AuditBrokenError, match="older or a changed copy"):
        writer.append(linked(writer.head, 1))
    writer.record_head()
    writer.close()
    with pytest.raises(AuditBrokenError, match=r"chain\.head knows"):
        PostgresStore(own_server.url, LOG, heads=tmp_path).open_writer("chain")
    assert len(stored(store)) == 5


def url_of_both(first: PostgresServer, second: PostgresServer) -> str:
    hosts = f"{first.directory},{second.directory}"
    return f"postgresql://audit@/postgres?host={hosts}&target_session_attrs=read-write"


async def test_a_log_whose_database_fails_over_to_a_replica_that_lags_stays_closed(own_server, tmp_path):
    PostgresStore(own_server.url, LOG, heads=tmp_path).open_writer("chain").close()
    replica = PostgresServer(copy_of=own_server)
    try:
        store = PostgresStore(url_of_both(own_server, replica), LOG, heads=tmp_path)
        log = open_log(store)
        for _ in range(5):
            await log.append("test.event", {}).durable()
        own_server.stop("immediate")
        replica.start()
        replica.promote()
        with pytest.raises(AuditUnavailableError):
            await log.append("test.event", {}).durable()
        async with asyncio.timeout(20):
            while "older" not in log.reason:
                await asyncio.sleep(0.05)
        assert replica.execute("SELECT count(*) FROM audit_records") == [(0,)]
        await log.close()
    finally:
        replica.remove()


async def test_a_log_goes_on_after_a_fail_over_to_a_replica_that_has_everything(own_server, tmp_path):
    replica = PostgresServer(copy_of=own_server)
    try:
        replica.start()
        own_server.execute("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        store = PostgresStore(url_of_both(own_server, replica), LOG, heads=tmp_path)
        log = open_log(store)

        def fail_over() -> None:
            own_server.stop("immediate")
            replica.promote()

        acknowledged, _ = await under_load(log, fail_over, times=1)
        await log.close()
        assert len(acknowledged) > 40
        check_chain(store, acknowledged)
    finally:
        replica.remove()


def test_a_commit_that_no_standby_has_yet_is_not_taken_for_durable(own_server, tmp_path):
    replica = PostgresServer(copy_of=own_server)
    try:
        replica.start()
        own_server.execute("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        writer = PostgresStore(own_server.url, LOG, heads=tmp_path).open_writer("chain")
        write(writer, 1)
        replica.stop()
        batch = linked(writer.head, 1)
        with ThreadPoolExecutor() as pool:
            append = pool.submit(writer.append, batch)
            ended = [(False,)]
            while not any(row[0] for row in ended):
                # The session is ended while its commit, which is on this server's disk, waits for the standby.
                ended = own_server.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
                )
            with pytest.raises(AuditStoreError):
                append.result(30)
            head = pool.submit(writer.read_head)
            with pytest.raises(TimeoutError):
                head.result(1)
            replica.start()
            assert head.result(30) == Head(1, batch[0].hash)
        assert replica.execute("SELECT count(*) FROM audit_records") == [(2,)]
        writer.close()
    finally:
        replica.remove()


def test_readers_that_take_every_connection_fail_alone(world: PostgresWorld, monkeypatch):
    monkeypatch.setattr(database_module, "POOL_SECONDS", 0.2)
    store = world.open()
    writer = store.open_writer("chain")
    write(writer, 1)
    taken = [store._database.readers.connect() for _ in range(database_module.READERS)]
    with pytest.raises(AuditStoreError, match="all 4 connections"):
        store.find("x")
    write(writer, 1)
    for connection in taken:
        connection.close()
    assert store.find("x") is None
    writer.close()


async def test_a_server_without_connections_left_closes_the_log_until_there_is_one(tmp_path):
    server = PostgresServer({"max_connections": "6", "superuser_reserved_connections": "0"})
    try:
        server.start()
        store = PostgresStore(server.url, LOG, heads=tmp_path)
        log = open_log(store)
        await log.append("test.event", {}).durable()
        held = []
        with pytest.raises(psycopg.OperationalError):
            while True:
                held.append(psycopg.connect(server.url))
        mine = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'govgateway'"
        held[0].execute(mine)
        with pytest.raises(psycopg.OperationalError):
            while True:
                held.append(psycopg.connect(server.url))
        with pytest.raises(AuditUnavailableError):
            await log.append("test.event", {}).durable()
        for connection in held:
            connection.close()
        async with asyncio.timeout(20):
            while not log.healthy:
                await asyncio.sleep(0.05)
        await log.append("test.event", {}).durable()
        await log.close()
        check_chain(store, set())
    finally:
        server.remove()


@pytest.fixture
def small_filesystem(own_server: PostgresServer) -> Iterator[Path]:
    """A filesystem of 4 MiB that the server can write."""
    small = own_server.directory / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", small], check=False).returncode != 0:
        pytest.skip("a small filesystem needs the right to mount one")
    subprocess.run(["chown", "nobody", small], check=True)
    yield small
    own_server.stop("immediate")
    subprocess.run(["umount", small], check=True)


def enlarge(filesystem: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", filesystem], check=True)


async def test_a_full_disk_closes_the_log_until_there_is_room(own_server, small_filesystem, tmp_path):
    own_server.execute(f"CREATE TABLESPACE small LOCATION '{small_filesystem}'")
    store = PostgresStore(own_server.url, LOG, heads=tmp_path)
    store.migrate()
    own_server.execute("ALTER TABLE audit_records SET TABLESPACE small")
    log = open_log(store)
    acknowledged = []
    with pytest.raises(AuditUnavailableError, match="space"):
        while True:
            entry = log.append("test.event", {"text": os.urandom(10_000).hex()})
            await entry.durable()
            acknowledged.append(entry.event_id)
    enlarge(small_filesystem)
    async with asyncio.timeout(20):
        while not log.healthy:
            await asyncio.sleep(0.05)
    await log.append("test.event", {}).durable()
    await log.close()
    assert len(acknowledged) > 10
    check_chain(store, set(acknowledged))


def test_a_gateway_that_is_killed_under_load_loses_nothing_that_was_acknowledged(world: PostgresWorld, tmp_path: Path):
    chance = random.Random(9)  # noqa: S311 - not a secret
    answers = tmp_path / "answers"
    for _ in range(12):
        with answers.open("a") as file:
            process = subprocess.Popen([sys.executable, "-c", LOGGER, world.where], cwd=ROOT, stdout=file)
            size = answers.stat().st_size
            while answers.stat().st_size == size:
                assert process.poll() is None
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.2))
            process.kill()
            process.wait(10)
    acknowledged = {line for line in answers.read_text().split("\n") if len(line) == 36}
    assert len(acknowledged) > 12
    check_chain(world.open(), acknowledged)


def test_four_processes_write_four_chains_at_once(world: PostgresWorld):
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITER, world.where, str(world.heads), f"worker-{n}", "30"], cwd=ROOT)
        for n in range(4)
    ]
    assert [process.wait(60) for process in processes] == [0] * 4
    store = world.open()
    assert store.chains() == [f"worker-{n}" for n in range(4)]
    for chain in store.chains():
        assert len(stored(store, chain)) == 300
        check_chain(store, set(), chain)


def test_four_processes_that_want_one_chain_leave_it_whole(world: PostgresWorld):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, world.where, str(world.heads), "chain", "100"],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    results = [(process.communicate(timeout=60)[1], process.returncode) for process in processes]
    assert any(code == 0 for _, code in results)
    assert all(code == 0 or "another process" in said for said, code in results)
    check_chain(world.open(), set())


def test_tables_are_made_once_by_whoever_comes_first(world: PostgresWorld):
    stores = [world.open() for _ in range(6)]
    failures: list[BaseException] = []

    def open_writer(number: int) -> None:
        try:
            stores[number].open_writer(f"worker-{number}").close()
        except AuditStoreError as error:
            failures.append(error)

    threads = [threading.Thread(target=open_writer, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert world.open().migrate() == ("0001", "0001")


def test_a_log_moves_from_sqlite_to_postgresql_and_back_as_it_is(world: PostgresWorld, tmp_path: Path):
    source = SqliteStore(tmp_path / "audit", LOG)
    wrote = {}
    for chain in ("control", "worker-0"):
        writer = source.open_writer(chain)
        wrote[chain] = write(writer, 1500)
        writer.close()
    with pytest.raises(AuditBrokenError, match=r"control\.head knows"):
        PostgresStore(world.where, LOG, heads=source.directory).open_writer("control")
    assert copy(source, PostgresStore(world.where, LOG)) == 3000
    moved = PostgresStore(world.where, LOG, heads=source.directory)
    assert {chain: stored(moved, chain) for chain in moved.chains()} == wrote
    writer = moved.open_writer("control")
    wrote["control"] += write(writer, 2)
    writer.close()
    back = SqliteStore(tmp_path / "back", LOG)
    assert copy(moved, back) == 3002
    assert {chain: stored(back, chain) for chain in back.chains()} == wrote


def test_logs_in_one_database_are_apart(world: PostgresWorld):
    one, two = world.open(), world.open("other.example/audit")
    writers = [one.open_writer("chain"), two.open_writer("chain")]
    records = write(writers[0], 3)
    writers[1].append(linked(Head(), 1, log=two.log))
    assert two.find(records[0].event_id) is None
    assert (len(stored(one)), len(stored(two))) == (3, 1)
    for writer in writers:
        writer.close()


def test_a_role_with_the_rights_of_a_gateway_writes_and_may_not_change_what_is_written(
    world: PostgresWorld, server: PostgresServer
):
    world.open().migrate()
    server.execute("DROP ROLE IF EXISTS gateway", "CREATE ROLE gateway LOGIN")
    world.execute("", "GRANT SELECT, INSERT ON audit_records TO gateway")
    world.execute("", "GRANT SELECT, INSERT, UPDATE ON audit_chains TO gateway")
    world.execute("", "GRANT SELECT ON audit_version TO gateway")
    url = world.where.replace("audit@", "gateway@")
    store = PostgresStore(url, LOG, heads=world.heads)
    writer = store.open_writer("chain")
    write(writer, 3)
    writer.record_head()
    with pytest.raises(AuditStoreError, match="permission denied"):
        store.delete_before("chain", 2)
    with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("UPDATE audit_records SET hash = 'x'")
    writer.close()
    assert len(stored(store)) == 3
    server.execute("CREATE DATABASE bare")
    with pytest.raises(AuditStoreError, match="govctl audit migrate"):
        PostgresStore(server.url_of("gateway", "bare"), LOG).open_writer("chain")


def test_a_commit_waits_for_the_disk_whatever_the_server_or_the_address_say(
    world: PostgresWorld, server: PostgresServer
):
    database = world.where.split("/")[3].split("?")[0]
    server.execute(f"ALTER DATABASE {database} SET synchronous_commit = off")
    store = PostgresStore(f"{world.where}&options=-csynchronous_commit%3Doff", LOG)
    writer = store.open_writer("chain")
    assert writer._connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
    writer.close()
    server.execute(f"ALTER DATABASE {database} SET synchronous_commit = remote_apply")
    writer = world.open().open_writer("chain")
    assert writer._connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "remote_apply"
    writer.close()


def test_a_server_that_does_not_wait_for_its_disk_is_refused(tmp_path):
    server = PostgresServer({"fsync": "off"})
    try:
        server.start()
        with pytest.raises(AuditStoreError, match="fsync=off"):
            PostgresStore(server.url, LOG).open_writer("chain")
    finally:
        server.remove()


def test_a_password_is_in_no_message(server: PostgresServer):
    store = PostgresStore(f"postgresql://audit:hunter2@/absent?host={server.directory}", LOG)
    with pytest.raises(AuditStoreError, match='"absent" does not exist') as refused:
        store.chains()
    assert "hunter2" not in str(refused.value)
