"""Syslog over TLS: against a real rsyslogd, with each of its TLS libraries, and against peers that end it wrongly."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import orjson
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from audit.chain import link, record_hash
from audit.event_id import uuid7
from audit.sinks import CursorFile, Follower, Following, SinkUnavailableError
from audit.sinks.formats import Origin
from audit.sinks.opening import open_sink
from audit.sinks.settings import SyslogSettings, Tls
from audit.store import SqliteStore, StoredRecord
from tests.support.certificates import CertificateAuthority
from tests.support.https_server import loopback_leaf
from tests.support.syslog_daemon import SyslogDaemon, syslog_daemon

START_NS = 1_800_000_000_000_000_000
ORIGIN = Origin("1.0", "gateway-1")
ODD = "one\ntwo\r\x00\x1b[31m|=\\ <110>1 - - - forged\u2028\u0085 é"


def write(store: SqliteStore, count: int, text: str = ODD) -> None:
    writer = store.open_writer("worker-0")
    for _ in range(count):
        time_ns = START_NS + 1000 * (writer.head.sequence + 1)
        fields = {"principal": text, "cause": "x" * 200}
        writer.append([link(writer.head, store.log, "worker-0", uuid7(), time_ns, "test.event", fields)])
    writer.close()


def records(store: SqliteStore) -> list[StoredRecord]:
    with store.reader("worker-0") as reader:
        return list(reader.records())


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "audit", "example.org/audit")


def settings_for(port: int, ca_file: Path, **changes: object) -> SyslogSettings:
    return SyslogSettings.model_validate(
        {
            "type": "syslog",
            "name": "siem",
            "host": "127.0.0.1",
            "port": port,
            "format": "record",
            "tls": Tls(ca_file=ca_file),
            "timeout_seconds": 10,
            **changes,
        }
    )


Follow = Callable[[SyslogSettings], Follower]


@pytest.fixture
def follow(store: SqliteStore, tmp_path: Path) -> Iterator[Follow]:
    made: list[Follower] = []

    def _follow(settings: SyslogSettings) -> Follower:
        while made:
            made.pop().stop()
        sink = open_sink(settings, ORIGIN, lambda reference: b"")
        cursor = CursorFile(tmp_path / "sinks", settings.name)
        following = Following(batch_records=20, retry_seconds=(0.05, 0.2))
        made.append(
            Follower(settings.name, store, sink, cursor, lambda event: None, clock=time.time_ns, following=following)
        )
        return made[-1]

    yield _follow
    while made:
        made.pop().stop()


def drain(follower: Follower) -> None:
    for _ in range(200):
        if follower.attempt() > 0:
            return


@pytest.fixture(params=["ossl", "gtls"])
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SyslogDaemon]:
    directory = tmp_path / "rsyslog"
    directory.mkdir()
    with syslog_daemon(directory, driver=request.param) as running:
        yield running


@pytest.mark.interop
def test_rsyslog_reads_every_record_as_it_is(daemon: SyslogDaemon, store: SqliteStore, follow: Follow) -> None:
    write(store, 50)
    follower = follow(settings_for(daemon.port, daemon.ca_file))
    drain(follower)
    assert follower.cause == ""
    lines = daemon.wait_for(50)
    assert len(lines) == 50
    for line, record in zip(lines, records(store), strict=True):
        head, _, message = line.partition(" {")
        assert record_hash(b"{" + message.encode()) == record.hash
        assert head == (
            f"108 2027-01-15T08:00:00.{record.sequence:06}Z gateway-1 govgateway worker-0 test.event "
            f'[origin software="govgateway" swVersion="1.0"][meta sequenceId="{record.sequence + 1}"]'
        )


@pytest.mark.interop
@pytest.mark.parametrize("form", ["cef", "ocsf"])
def test_rsyslog_takes_one_line_for_each_record(
    daemon: SyslogDaemon, store: SqliteStore, follow: Follow, form: str
) -> None:
    write(store, 20)
    drain(follow(settings_for(daemon.port, daemon.ca_file, format=form)))
    lines = daemon.wait_for(20)
    assert len(lines) == 20
    assert all("CEF:0|govgateway|" in line or '"class_uid":' in line for line in lines)


@pytest.mark.interop
def test_a_record_of_the_greatest_length_passes(daemon: SyslogDaemon, store: SqliteStore, follow: Follow) -> None:
    write(store, 1, "y" * 64_000)
    drain(follow(settings_for(daemon.port, daemon.ca_file)))
    (line,) = daemon.wait_for(1)
    assert orjson.loads(line[line.index(" {") :])["principal"] == "y" * 64_000


@pytest.mark.interop
def test_nothing_is_lost_by_an_rsyslog_that_is_killed_again_and_again(
    daemon: SyslogDaemon, store: SqliteStore, follow: Follow
) -> None:
    write(store, 400)
    follower = follow(settings_for(daemon.port, daemon.ca_file, timeout_seconds=2))
    done = threading.Event()

    def feed() -> None:
        while follower.places.get("worker-0", 0) < 400:
            time.sleep(min(follower.attempt(), 0.05))
        done.set()

    thread = threading.Thread(target=feed)
    thread.start()
    kills = 0
    while not done.wait(0.03) and kills < 8:
        daemon.kill()
        kills += 1
        time.sleep(0.05)
        daemon.start()
    assert done.wait(60)
    thread.join()
    assert kills > 0
    sequences = [orjson.loads(line[line.index(" {") :])["seq"] for line in daemon.wait_for(400) if line.endswith("}")]
    assert list(dict.fromkeys(sequences)) == list(range(400))


@pytest.mark.interop
def test_rsyslog_that_asks_for_a_certificate_gets_one(tmp_path: Path, store: SqliteStore, follow: Follow) -> None:
    directory = tmp_path / "rsyslog"
    directory.mkdir()
    write(store, 3)
    with syslog_daemon(directory, ask_for_certificate=True) as daemon:
        follower = follow(settings_for(daemon.port, daemon.ca_file))
        follower.attempt()
        assert follower.failed
        now = int(time.time())
        client = daemon.root.issue("spiffe://example.org/gateway", not_before=now - 60, not_after=now + 3600)
        chain, key = client.files(tmp_path)
        tls = Tls(ca_file=daemon.ca_file, client_cert_file=chain, client_key_file=key)
        drain(follow(settings_for(daemon.port, daemon.ca_file, tls=tls)))
        assert len(daemon.wait_for(3)) == 3


Peer = Callable[[ssl.SSLSocket], None]


def read_all(connection: ssl.SSLSocket) -> None:
    try:
        while connection.recv(65_536):
            pass
    except ssl.SSLEOFError:
        pass


def close_before_reading(connection: ssl.SSLSocket) -> None:
    """Close while the batch is in the receive buffer, or on its way."""
    time.sleep(0.2)


def close_at_once(connection: ssl.SSLSocket) -> None:
    """Close before the batch comes."""


def close_in_the_middle(connection: ssl.SSLSocket) -> None:
    connection.recv(1000)
    time.sleep(0.2)


def read_all_and_close(connection: ssl.SSLSocket) -> None:
    read_all(connection)


def read_all_and_say_goodbye(connection: ssl.SSLSocket) -> None:
    read_all(connection)
    connection.unwrap()


def read_and_stay(connection: ssl.SSLSocket) -> None:
    """Keep the connection open, and say nothing."""
    read_all(connection)
    time.sleep(3)


def never_read(connection: ssl.SSLSocket) -> None:
    time.sleep(3)


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Callable[[Peer], SyslogSettings]]:
    """A TLS server that does one thing to each connection."""
    root = CertificateAuthority.root("example.org", now=int(time.time()))
    (tmp_path / "ca.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*loopback_leaf(root, int(time.time())).files(tmp_path))
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def serve(behave: Peer) -> None:
        plain, _ = listener.accept()
        with plain, suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
            behave(connection)

    def start(behave: Peer) -> SyslogSettings:
        threads.append(threading.Thread(target=serve, args=(behave,), daemon=True))
        threads[-1].start()
        return settings_for(listener.getsockname()[1], tmp_path / "ca.pem", timeout_seconds=1.5)

    yield start
    for thread in threads:
        thread.join(10)
    listener.close()


@pytest.mark.parametrize("behave", [read_all_and_close, read_all_and_say_goodbye])
@pytest.mark.parametrize("text", [ODD, "z" * 60_000], ids=["little", "much"])
def test_a_batch_counts_when_the_receiver_has_read_all_of_it(
    peer: Callable[[Peer], SyslogSettings], store: SqliteStore, behave: Peer, text: str
) -> None:
    write(store, 30, text)
    open_sink(peer(behave), ORIGIN, lambda reference: b"").send(records(store))


@pytest.mark.parametrize(
    "behave", [close_before_reading, close_at_once, close_in_the_middle, read_and_stay, never_read]
)
@pytest.mark.parametrize("text", [ODD, "z" * 60_000], ids=["little", "much"])
def test_a_batch_does_not_count_when_the_receiver_left_before_or_does_not_show_it(
    peer: Callable[[Peer], SyslogSettings], store: SqliteStore, behave: Peer, text: str
) -> None:
    write(store, 30, text)
    sink = open_sink(peer(behave), ORIGIN, lambda reference: b"")
    with pytest.raises(SinkUnavailableError):
        sink.send(records(store))


def test_a_receiver_with_another_certificate_is_sent_nothing(
    peer: Callable[[Peer], SyslogSettings], store: SqliteStore, tmp_path: Path
) -> None:
    write(store, 1)
    other = CertificateAuthority.root("example.org", now=int(time.time()))
    (tmp_path / "other.pem").write_bytes(other.certificate.public_bytes(Encoding.PEM))
    received: list[bytes] = []
    settings = peer(lambda connection: received.append(connection.recv(100)))
    settings = settings.model_copy(update={"tls": Tls(ca_file=tmp_path / "other.pem")})
    with pytest.raises(SinkUnavailableError, match="certificate verify failed"):
        open_sink(settings, ORIGIN, lambda reference: b"").send(records(store))
    assert received == []


def test_a_receiver_that_refuses_connections_is_away(store: SqliteStore, tmp_path: Path) -> None:
    write(store, 1)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        settings = settings_for(holder.getsockname()[1], tmp_path / "none.pem", tls=Tls())
        with pytest.raises(SinkUnavailableError, match="Connection refused"):
            open_sink(settings, ORIGIN, lambda reference: b"").send(records(store))
