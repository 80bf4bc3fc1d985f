"""Kafka: against a real broker of Apache Kafka, also one that is killed."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from audit.chain import link
from audit.event_id import uuid7
from audit.sinks import CursorFile, Follower, Following
from audit.sinks.dead_letters import DeadLetters
from audit.sinks.formats import Origin
from audit.sinks.opening import open_sink
from audit.sinks.settings import KafkaSettings
from audit.store import SqliteStore
from tests.support.kafka_broker import KafkaBroker, kafka_broker

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

START_NS = 1_800_000_000_000_000_000


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    with kafka_broker(tmp_path_factory.mktemp("broker") / "kafka", message_bytes=20_000) as running:
        yield running


class World:
    """A log, a topic, and what lies between."""

    def __init__(self, directory: Path, broker: KafkaBroker) -> None:
        self.directory, self.broker = directory, broker
        self.store = SqliteStore(directory / "audit", "example.org/audit")
        self.topic = f"audit-{uuid7()}"
        self.written: dict[str, list[bytes]] = {}
        self.followers: list[Follower] = []
        admin = AdminClient(self._client())
        for created in admin.create_topics([NewTopic(self.topic, 3, 1)]).values():
            created.result(60)

    def _client(self) -> dict[str, Any]:
        options: dict[str, Any] = {"bootstrap.servers": self.broker.address}
        if self.broker.tls:
            options |= {"security.protocol": "SSL", "ssl.ca.location": str(self.broker.ca_file)}
        return options

    def write(self, count: int, chain: str = "worker-0", text: str = "somebody") -> None:
        writer = self.store.open_writer(chain)
        for _ in range(count):
            time_ns = START_NS + writer.head.sequence + 1
            record = link(writer.head, self.store.log, chain, uuid7(), time_ns, "test.event", {"principal": text})
            writer.append([record])
            self.written.setdefault(chain, []).append(record.record)
        writer.close()

    def follower(self, *, divert: bool = False, **changes: object) -> Follower:
        while self.followers:
            self.followers.pop().stop()
        settings = KafkaSettings.model_validate(
            {
                "type": "kafka", "name": "stream", "brokers": [self.broker.address], "topic": self.topic,
                "tls": {"ca_file": self.broker.ca_file} if self.broker.tls else None, "timeout_seconds": 20, **changes,
            }
        )  # fmt: skip
        sinks = self.directory / "sinks"
        follower = Follower(
            "stream", self.store, open_sink(settings, Origin("1.0", "gateway-1"), lambda _: b""),
            CursorFile(sinks, "stream"), lambda event: None, clock=time.time_ns,
            following=Following(batch_records=20, retry_seconds=(0.05, 0.2)),
            dead_letters=DeadLetters(sinks, "stream", time.time_ns) if divert else None,
        )  # fmt: skip
        self.followers.append(follower)
        return follower

    def received(self) -> dict[str, list[bytes]]:
        """Return everything that is in the topic, by key, in order."""
        options = {
            **self._client(),
            "group.id": str(uuid7()),
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        }
        consumer = confluent_kafka.Consumer(options)
        consumer.subscribe([self.topic])
        found: dict[str, list[bytes]] = {}
        ended: set[int] = set()
        deadline = time.monotonic() + 60
        while len(ended) < 3:
            assert time.monotonic() < deadline, "the topic cannot be read to its end"
            message = consumer.poll(1)
            if message is None:
                continue
            if message.error() is not None:
                if message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
                continue
            ended.discard(message.partition())
            found.setdefault(message.key().decode(), []).append(message.value())
        consumer.close()
        return found


@pytest.fixture
def world(tmp_path: Path, broker: KafkaBroker) -> Iterator[World]:
    made = World(tmp_path, broker)
    yield made
    for follower in made.followers:
        follower.stop()


def drain(follower: Follower) -> None:
    for _ in range(100):
        if follower.attempt() > 0:
            return


def test_every_record_arrives_once_each_chain_in_order(world: World) -> None:
    world.write(50)
    world.write(5, "control")
    follower = world.follower()
    drain(follower)
    assert follower.cause == ""
    assert world.received() == world.written


def test_a_message_that_the_broker_finds_too_large_is_diverted_and_nothing_else(world: World) -> None:
    world.write(3)
    world.write(1, text="x" * 40_000)
    world.write(3)
    follower = world.follower(divert=True)
    drain(follower)
    assert (follower.cause, follower.diverted_records) == ("", 1)
    received = world.received()["worker-0"]
    assert list(dict.fromkeys(received)) == [r for n, r in enumerate(world.written["worker-0"]) if n != 3]


def test_a_broker_that_nobody_can_reach_is_given_up_in_time(world: World) -> None:
    world.write(1)
    follower = world.follower(brokers=["127.0.0.1:1"], timeout_seconds=1)
    follower.attempt()
    assert follower.failed
    assert "127.0.0.1:1" in follower.cause


def test_nothing_is_lost_by_a_broker_that_is_killed(tmp_path: Path) -> None:
    with kafka_broker(tmp_path / "kafka", tls=True) as broker:
        world = World(tmp_path, broker)
        world.write(400)
        follower = world.follower(timeout_seconds=5)
        follower.attempt()
        done = threading.Event()

        def feed() -> None:
            while follower.places["worker-0"] < 400:
                time.sleep(min(follower.attempt(), 0.1))
            done.set()

        thread = threading.Thread(target=feed)
        thread.start()
        broker.kill()
        assert not done.is_set()
        broker.start()
        assert done.wait(120)
        thread.join()
        received = world.received()["worker-0"]
        follower.stop()
    assert list(dict.fromkeys(received)) == world.written["worker-0"]


def test_a_broker_with_another_certificate_is_sent_nothing(tmp_path: Path) -> None:
    with kafka_broker(tmp_path / "kafka", tls=True) as broker:
        world = World(tmp_path, broker)
        world.write(1)
        follower = world.follower(tls={}, timeout_seconds=5)
        follower.attempt()
        follower.stop()
        assert follower.failed
        assert "certificate verify failed" in follower.cause
