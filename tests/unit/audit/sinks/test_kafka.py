"""The real client of Kafka, against librdkafka's own stand-in for a cluster and against receivers that are none."""

import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import confluent_kafka
import pytest

from audit.sinks.errors import SinkRefusedError, SinkUnavailableError
from audit.sinks.kafka import KafkaSink
from audit.sinks.settings import KafkaSettings
from audit.store import StoredRecord


def record(sequence: int, chain: str = "worker-0", size: int = 20) -> StoredRecord:
    content = f"{chain} {sequence} ".encode().ljust(size, b".")
    return StoredRecord(chain, sequence, f"event-{sequence}", 0, "test.event", "", content)


def encode(each: StoredRecord) -> bytes:
    if each.type == "test.formless":
        raise ValueError("no form")
    return each.record


@contextmanager
def opened(brokers: list[str], timeout_seconds: float = 20) -> Iterator[KafkaSink]:
    settings = KafkaSettings(
        type="kafka", name="bus", brokers=brokers, topic="audit", tls=None, timeout_seconds=timeout_seconds
    )
    sink = KafkaSink(settings, encode, None)
    try:
        yield sink
    finally:
        sink.close()


@pytest.fixture
def brokers() -> Iterator[list[str]]:
    """Brokers of a stand-in cluster: librdkafka keeps it within the client that asks for it."""
    holder = confluent_kafka.Producer({"bootstrap.servers": "unused", "test.mock.num.brokers": 2, "log_level": 0})
    yield [f"{each.host}:{each.port}" for each in holder.list_topics("audit", timeout=20).brokers.values()]
    holder.flush(0)


def taken(brokers: list[str], count: int) -> dict[tuple[int, bytes], list[bytes]]:
    """Return that many messages of the topic, by partition and key."""
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": ",".join(brokers), "group.id": "reader", "auto.offset.reset": "earliest", "log_level": 0}
    )
    found: dict[tuple[int, bytes], list[bytes]] = defaultdict(list)
    try:
        partitions = consumer.list_topics("audit", timeout=20).topics["audit"].partitions
        consumer.assign([confluent_kafka.TopicPartition("audit", number, 0) for number in partitions])
        for message in consumer.consume(count, timeout=20):
            assert message.error() is None
            found[message.partition(), message.key()].append(message.value())
    finally:
        consumer.close()
    return dict(found)


def test_every_chain_stays_in_order_in_one_partition(brokers: list[str]) -> None:
    with opened(brokers) as sink:
        for start in (0, 40):
            for chain in ("control", "worker-0", "worker-1"):
                sink.send([record(start + number, chain) for number in range(40)])
    found = taken(brokers, 240)
    assert sorted(key for _, key in found) == [b"control", b"worker-0", b"worker-1"]
    for (_, key), values in found.items():
        assert values == [record(number, key.decode()).record for number in range(80)]


def test_a_message_that_is_too_large_is_named_and_the_others_are_taken(brokers: list[str]) -> None:
    with opened(brokers) as sink, pytest.raises(SinkRefusedError, match="too large") as caught:
        sink.send([record(0), record(1, size=2_000_000), record(2)])
    assert list(caught.value.refused) == [1]
    assert list(taken(brokers, 2).values()) == [[record(0).record, record(2).record]]


def test_a_record_without_a_form_is_refused_before_anything_is_sent(brokers: list[str]) -> None:
    formless = StoredRecord("worker-0", 1, "event", 0, "test.formless", "", b"")
    with opened(brokers) as sink:
        with pytest.raises(SinkRefusedError, match="record 1 ") as caught:
            sink.send([record(0), formless])
        assert not caught.value.refused
        sink.send([record(7)])
    assert list(taken(brokers, 1).values()) == [[record(7).record]]


def test_a_sink_that_was_closed_can_be_used_again(brokers: list[str]) -> None:
    with opened(brokers) as sink:
        sink.send([record(0)])
        sink.close()
        sink.close()
        sink.send([record(1)])
    assert list(taken(brokers, 2).values()) == [[record(0).record, record(1).record]]


def test_nobody_at_the_address_is_said_with_the_cause_and_the_records_count_as_not_taken() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{reserved.getsockname()[1]}"
        with opened([address], 1) as sink, pytest.raises(SinkUnavailableError, match=r"not confirmed.*refused"):
            sink.send([record(0)])


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00" * 64, b"\xff" * 64])
def test_a_receiver_that_is_silent_or_answers_garbage_takes_nothing(answer: bytes) -> None:
    def greet(connection: socket.socket) -> None:
        if answer:
            connection.sendall(answer)

    with listening(greet) as address, opened([address], 1) as sink, pytest.raises(SinkUnavailableError):
        sink.send([record(0)])


def test_a_password_is_asked_for_with_every_new_producer() -> None:
    asked: list[int] = []

    def credential() -> bytes:
        asked.append(1)
        return b"secret"

    settings = KafkaSettings(
        type="kafka", name="bus", brokers=["127.0.0.1:1"], topic="audit", tls=None, timeout_seconds=0.2,
        username="gateway", password="env:PASSWORD",
    )  # fmt: skip
    sink = KafkaSink(settings, encode, credential)
    for _ in range(2):
        with pytest.raises(SinkUnavailableError) as caught:
            sink.send([record(0)])
        assert "secret" not in str(caught.value)
    assert len(asked) == 2


@contextmanager
def listening(greet: Callable[[socket.socket], Any]) -> Iterator[str]:
    """Accept connections, say something, and keep them open."""
    kept: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                kept.append(connection)
                try:
                    greet(connection)
                except OSError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in kept:
                connection.close()
