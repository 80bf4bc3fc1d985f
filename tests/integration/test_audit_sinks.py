"""Each kind of sink against a receiver on the loopback interface that dies, hangs, lies or refuses: nothing is lost.

Splunk, Elasticsearch and the collector are stand-ins here (tests/support/siem_stand_ins.py).
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import TypeAdapter

from audit.chain import link
from audit.event_id import uuid7
from audit.sinks import Follower, SinkEvent, SinkFailed, SinkRecovered
from audit.sinks.formats import Origin
from audit.sinks.opening import Surroundings, open_follower
from audit.sinks.settings import SinkSettings
from audit.store import SqliteStore
from tests.support.certificates import CertificateAuthority
from tests.support.https_server import loopback_leaf
from tests.support.siem_stand_ins import (
    ElasticStandIn,
    LinesStandIn,
    OtlpStandIn,
    Receiver,
    SplunkStandIn,
    serving,
)

START_NS = 1_800_000_000_000_000_000
TRACE = "0af7651916cd43dd8448eb211c80319c"

KINDS: dict[str, tuple[type[Receiver], dict[str, object]]] = {
    "splunk": (SplunkStandIn, {"token": "env:TOKEN"}),
    "splunk-acknowledged": (SplunkStandIn, {"token": "env:TOKEN", "acknowledged": True}),
    "elastic": (ElasticStandIn, {"index": "audit-log", "api_key": "env:TOKEN"}),
    "elastic-record": (ElasticStandIn, {"index": "audit-log", "format": "record"}),
    "http": (LinesStandIn, {"token": "env:TOKEN"}),
    "otlp": (OtlpStandIn, {}),
}


@dataclass
class World:
    """A log, a receiver, and what lies between."""

    store: SqliteStore
    directory: Path
    receiver: Receiver
    settings: dict[str, object]
    events: list[SinkEvent] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    credential: bytes = b"collector-token\n"
    followers: list[Follower] = field(default_factory=list)

    def write(self, count: int) -> None:
        """Add records."""
        writer = self.store.open_writer("worker-0")
        for _ in range(count):
            fields = {"principal": "spiffe://example.org/agent/a", "trace_id": TRACE, "system": 'with "quotes"\n=|\\'}
            time_ns = START_NS + writer.head.sequence + 1
            writer.append([link(writer.head, self.store.log, "worker-0", uuid7(), time_ns, "test.event", fields)])
            self.hashes.append(writer.head.hash)
        writer.close()

    def follower(self, **changes: object) -> Follower:
        """Return what feeds the receiver, as after a start of the process."""
        while self.followers:
            self.followers.pop().stop()
        adapter: TypeAdapter[SinkSettings] = TypeAdapter(SinkSettings)
        settings = adapter.validate_python({**self.settings, "url": self.receiver.url, **changes})
        surroundings = Surroundings(
            self.store, self.directory / "sinks", Origin("1.0", "gateway-1"), lambda _: self.credential,
            self.events.append, time.time_ns,
        )  # fmt: skip
        self.followers.append(open_follower(settings, surroundings))
        return self.followers[-1]

    def check_complete(self) -> None:
        """Every record arrived; the first copies are in order."""
        assert list(dict.fromkeys(self.receiver.taken)) == self.hashes


def drain(follower: Follower) -> None:
    for _ in range(100):
        if follower.attempt() > 0:
            return


@pytest.fixture
def world_of(tmp_path: Path) -> Iterator[Callable[[str], World]]:
    root = CertificateAuthority.root("example.org", now=int(time.time()))
    (tmp_path / "ca.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    open_now: list[object] = []
    worlds: list[World] = []

    def make(kind: str) -> World:
        made, options = KINDS[kind]
        receiver = made()
        manager = serving(receiver, loopback_leaf(root, int(time.time())), tmp_path)
        manager.__enter__()
        open_now.append(manager)
        settings = {
            "name": "siem", "type": kind.split("-", maxsplit=1)[0], "tls": {"ca_file": tmp_path / "ca.pem"}, "batch_records": 4,
            "timeout_seconds": 5, "failed_after_seconds": 0, **options,
        }  # fmt: skip
        worlds.append(World(SqliteStore(tmp_path / "audit", "example.org/audit"), tmp_path, receiver, settings))
        return worlds[-1]

    yield make
    for world in worlds:
        for follower in world.followers:
            follower.stop()
    for manager in open_now:
        manager.__exit__(None, None, None)  # type: ignore[attr-defined]


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, world_of: Callable[[str], World]) -> World:
    return world_of(request.param)


def test_every_record_arrives_once(world: World) -> None:
    world.write(10)
    drain(world.follower())
    assert world.receiver.taken == world.hashes
    world.write(3)
    drain(world.follower())
    assert world.receiver.taken == world.hashes
    assert world.events == []


@pytest.mark.parametrize("fault", ["cut-before", "cut-after", "garbage", "busy", "redirect"])
def test_nothing_is_lost_by_a_receiver_that_fails_in_the_middle(world: World, fault: str) -> None:
    world.write(6)
    follower = world.follower()
    follower.attempt()
    world.receiver.fault = fault  # type: ignore[assignment]
    assert follower.attempt() > 0
    assert follower.failed
    assert isinstance(world.events[0], SinkFailed)
    world.receiver.fault = "none"
    drain(follower)
    world.check_complete()
    assert isinstance(world.events[1], SinkRecovered)


@pytest.mark.parametrize("fault", ["silent", "drip"])
def test_a_receiver_that_keeps_us_waiting_is_given_up_in_time(world: World, fault: str) -> None:
    world.write(2)
    world.receiver.fault = fault  # type: ignore[assignment]
    follower = world.follower(timeout_seconds=0.5)
    follower.attempt()
    assert "did not answer within 0.5 seconds" in follower.cause
    world.receiver.fault = "none"
    drain(world.follower())
    world.check_complete()


def test_an_answer_without_end_is_not_read(world: World) -> None:
    world.write(2)
    world.receiver.fault = "endless"
    follower = world.follower()
    follower.attempt()
    assert "sends an answer that does not end" in follower.cause


def test_a_pause_that_the_receiver_asks_for_is_kept(world: World) -> None:
    world.write(1)
    world.receiver.fault = "busy"
    assert world.follower().attempt() >= 7


def test_a_refused_record_is_found_and_stops_the_chain(world: World) -> None:
    world.write(7)
    world.receiver.refuse = {world.hashes[5]}
    follower = world.follower()
    drain(follower)
    assert follower.places == {"worker-0": 5}
    assert "record 5 of the chain worker-0" in follower.cause
    world.receiver.refuse = set()
    drain(world.follower())
    assert set(world.receiver.taken) == set(world.hashes)


def test_a_refused_record_is_diverted_if_so_configured(world: World) -> None:
    world.write(7)
    world.receiver.refuse = {world.hashes[5]}
    follower = world.follower(on_refusal="divert")
    drain(follower)
    assert set(world.receiver.taken) == set(world.hashes) - {world.hashes[5]}
    (line,) = (world.directory / "sinks" / "siem.dead.jsonl").read_bytes().splitlines()
    assert orjson.loads(line)["hash"] == world.hashes[5]


def test_a_receiver_with_another_certificate_is_sent_nothing(world: World, tmp_path: Path) -> None:
    other = CertificateAuthority.root("example.org", now=int(time.time()))
    (tmp_path / "other.pem").write_bytes(other.certificate.public_bytes(Encoding.PEM))
    world.write(1)
    follower = world.follower(tls={"ca_file": tmp_path / "other.pem"})
    follower.attempt()
    assert "certificate verify failed" in follower.cause
    assert world.receiver.requests == []


def test_a_receiver_under_another_name_is_sent_nothing(world: World) -> None:
    world.write(1)
    follower = world.follower(url=world.receiver.url.replace("127.0.0.1", "localhost"))
    follower.attempt()
    assert "certificate verify failed" in follower.cause
    assert world.receiver.requests == []


def test_a_credential_that_was_rotated_is_used_without_a_restart(world_of: Callable[[str], World]) -> None:
    world = world_of("splunk")
    world.credential = b"old"
    world.write(2)
    follower = world.follower()
    follower.attempt()
    assert "Invalid token" in follower.cause
    world.credential = b"collector-token"
    drain(follower)
    world.check_complete()


@pytest.mark.parametrize("credential", [b"two\nlines", b"", b"caf\xc3\xa9"])
def test_a_credential_that_no_header_can_carry_is_in_no_message(
    world_of: Callable[[str], World], credential: bytes
) -> None:
    world = world_of("splunk")
    world.credential = credential
    world.write(1)
    follower = world.follower()
    follower.attempt()
    assert follower.cause == "the Splunk credential is empty or has characters that no header can carry"


def test_splunk_is_told_time_place_and_hash(world_of: Callable[[str], World]) -> None:
    world = world_of("splunk")
    world.write(1)
    drain(world.follower(index="audit"))
    (event,) = world.receiver.events  # type: ignore[attr-defined]
    assert (event["time"], event["host"], event["index"]) == (1_800_000_000.0, "gateway-1", "audit")
    assert event["fields"] == {"chain": "worker-0", "seq": "0", "type": "test.event", "hash": world.hashes[0]}
    with world.store.reader("worker-0") as reader:
        (record,) = reader.records()
    assert event["event"] == orjson.loads(record.record)


def test_splunk_events_that_are_not_acknowledged_are_sent_again(world_of: Callable[[str], World]) -> None:
    world = world_of("splunk-acknowledged")
    world.receiver.acknowledge = False  # type: ignore[attr-defined]
    world.write(2)
    follower = world.follower(timeout_seconds=0.5)
    follower.attempt()
    assert follower.cause == "the indexers have not acknowledged within 0.5 seconds"
    assert follower.places == {"worker-0": 0}
    world.receiver.acknowledge = True  # type: ignore[attr-defined]
    drain(follower)
    assert world.receiver.taken == world.hashes * 2


@pytest.mark.parametrize(("status", "code"), [(400, 7), (400, 10), (403, 4), (503, 9), (200, 9)])
def test_what_somebody_can_put_right_at_splunk_is_no_refusal(
    world_of: Callable[[str], World], status: int, code: int
) -> None:
    world = world_of("splunk")
    world.receiver.code = (status, code)  # type: ignore[attr-defined]
    world.write(2)
    follower = world.follower(on_refusal="divert")
    follower.attempt()
    assert follower.failed
    assert follower.diverted_records == 0
    world.receiver.code = None  # type: ignore[attr-defined]
    drain(follower)
    world.check_complete()


def test_a_document_is_in_elastic_once_however_often_it_is_sent(world_of: Callable[[str], World]) -> None:
    world = world_of("elastic")
    world.write(3)
    world.receiver.fault = "cut-after"
    follower = world.follower()
    follower.attempt()
    world.receiver.fault = "none"
    drain(follower)
    assert world.receiver.taken == world.hashes
    document = world.receiver.documents[world.hashes[0]]  # type: ignore[attr-defined]
    assert document["@timestamp"] == "2027-01-15T08:00:00.000000Z"
    assert document["metadata"]["version"] == "1.8.0"


def test_elastic_items_that_are_pushed_back_are_sent_again(world_of: Callable[[str], World]) -> None:
    world = world_of("elastic")
    world.write(3)
    world.receiver.item_status = 429  # type: ignore[attr-defined]
    follower = world.follower(on_refusal="divert")
    follower.attempt()
    assert "did not take a document (429)" in follower.cause
    world.receiver.item_status = None  # type: ignore[attr-defined]
    drain(follower)
    assert world.receiver.taken == world.hashes


def test_a_log_record_carries_the_record_its_hash_and_its_trace(world_of: Callable[[str], World]) -> None:
    world = world_of("otlp")
    world.write(1)
    drain(world.follower())
    (record,) = world.receiver.records  # type: ignore[attr-defined]
    with world.store.reader("worker-0") as reader:
        (stored,) = reader.records()
    assert record["body"]["stringValue"].encode() == stored.record
    assert (record["traceId"], record["timeUnixNano"], record["eventName"]) == (TRACE, str(START_NS), "test.event")


@pytest.mark.parametrize("rejected", ["many", [], {"a": 1}])
def test_a_partial_success_that_makes_no_sense_is_no_success(
    world_of: Callable[[str], World], rejected: object
) -> None:
    world = world_of("otlp")
    world.receiver.rejected = rejected or [0]  # type: ignore[attr-defined]
    world.write(1)
    follower = world.follower()
    follower.attempt()
    assert "is not what such a receiver says" in follower.cause


def test_a_json_line_is_the_record_byte_for_byte(world_of: Callable[[str], World]) -> None:
    world = world_of("http")
    world.write(2)
    drain(world.follower())
    with world.store.reader("worker-0") as reader:
        assert world.receiver.lines == [record.record for record in reader.records()]  # type: ignore[attr-defined]
    assert world.receiver.headers[0]["authorization"] == "Bearer collector-token"
