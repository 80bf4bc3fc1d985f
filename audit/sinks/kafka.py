"""Sends records to a topic of Apache Kafka, each chain under a key of its own, so that it stays in order.

The client is confluent-kafka, which the extra `govgateway[kafka]` brings. It is an idempotent producer: what it repeats
by itself arrives once. A batch counts as taken when the delivery of every message was confirmed by all replicas that
are in sync. If that does not come about within the time, the producer is thrown away with what it holds, and the batch
is sent again by a new one.
"""

import importlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from audit.sinks.encoding import Encode, encoded
from audit.sinks.errors import SinkError, SinkRefusedError, SinkUnavailableError
from audit.sinks.settings import KafkaSettings
from audit.store.base import StoredRecord

_log = logging.getLogger(__name__)

_POLL_SECONDS = 0.1
"""Longest wait for one delivery report, seconds; errors of the connection are taken note of in between."""

_REFUSALS = ("MSG_SIZE_TOO_LARGE", "INVALID_MSG_SIZE", "RECORD_LIST_TOO_LARGE", "INVALID_RECORD")
"""Errors that the same message will meet again."""


class _Producer(Protocol):
    def produce(self, topic: str, value: bytes, key: bytes, *, on_delivery: Callable[[Any, Any], None]) -> None: ...

    def poll(self, timeout: float) -> int: ...

    def purge(self) -> None: ...


class KafkaSink:
    """Takes copies into a topic.

    Args:
        settings: which topic of which brokers.
        encode: makes the message's value; a ValueError refuses the record.
        credential: the password for SASL, asked for each time a producer is made; None if there is none.

    Raises:
        SinkError: the client is not installed.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        encode: Encode,
        credential: Callable[[], bytes] | None,
    ) -> None:
        try:
            self._kafka = importlib.import_module("confluent_kafka")
        except ImportError as error:
            raise SinkError(
                f"the sink {settings.name} needs a Kafka client that cannot be loaded ({error}). "
                'Install it: pip install "govgateway[kafka]"'
            ) from error
        self._settings = settings
        self._encode = encode
        self._credential = credential
        self._producer: _Producer | None = None
        self._trouble = ""
        codes = self._kafka.KafkaError
        self._refusals = {getattr(codes, name) for name in _REFUSALS if hasattr(codes, name)}

    def send(self, batch: Sequence[StoredRecord]) -> None:
        """Hand over records of one chain, in order; all are confirmed when this returns.

        Raises:
            SinkUnavailableError: not all were confirmed in time.
            SinkRefusedError: some are too large; or one has no such form, then none is sent.
        """
        messages = encoded(batch, self._encode)
        delivery = _Delivery(len(messages), self._refusals)
        deadline = time.monotonic() + self._settings.timeout_seconds
        self._trouble = ""
        try:
            if self._producer is None:
                self._producer = self._made()
            self._hand_over(self._producer, batch, messages, delivery, deadline)
            while delivery.open and not delivery.failure and (left := deadline - time.monotonic()) > 0:
                self._producer.poll(min(left, _POLL_SECONDS))
        except (self._kafka.KafkaException, BufferError, ValueError, OSError) as error:
            self.close()
            raise SinkUnavailableError(": ".join(filter(None, (self._where(), str(error), self._trouble)))) from error
        if delivery.failure or delivery.open:
            late = f"{delivery.open} of {len(messages)} messages were not confirmed in time"
            cause = ": ".join(filter(None, (self._where(), delivery.failure or late, self._trouble)))
            self.close()
            raise SinkUnavailableError(cause)
        if delivery.refused:
            exact = not delivery.reported or len(messages) == 1
            cause = f"{self._where()}: {next(iter(delivery.refused.values()))}"
            raise SinkRefusedError(cause, delivery.refused if exact else None)

    def close(self) -> None:
        """Throw the producer away, and what it holds."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.poll(0)

    def _hand_over(
        self,
        producer: _Producer,
        batch: Sequence[StoredRecord],
        messages: Sequence[bytes],
        delivery: "_Delivery",
        deadline: float,
    ) -> None:
        """Queue messages, each as the delivery's next.

        Raises:
            BufferError: the queue stays full until the deadline.
        """
        for index, (record, value) in enumerate(zip(batch, messages, strict=True)):
            while True:
                try:
                    producer.produce(
                        self._settings.topic, value, record.chain.encode(), on_delivery=delivery.report(index)
                    )
                    break
                except BufferError:
                    if time.monotonic() >= deadline:
                        raise
                    producer.poll(_POLL_SECONDS)
                except self._kafka.KafkaException as error:
                    if error.args[0].code() not in self._refusals:
                        raise
                    delivery.refuse(index, error.args[0])
                    break

    def _made(self) -> _Producer:
        password = self._credential() if self._credential is not None else b""
        made: _Producer = self._kafka.Producer(
            {**configuration(self._settings, password.decode()), "error_cb": self._note, "logger": _log}
        )
        return made

    def _note(self, error: Any) -> None:
        """Take note of an error of the connection; the client goes on trying by itself."""
        self._trouble = error.str()

    def _where(self) -> str:
        return f"the topic {self._settings.topic} at {', '.join(self._settings.brokers)}"


class _Delivery:
    """What became of the messages of one batch.

    Attributes:
        open: how many are not reported yet.
        refused: which can never be taken, by index, and why.
        reported: whether one of them was refused by a broker. It refuses the messages that the client had put together
            with one that it does not take, too; who is at fault shows only when each is sent alone.
        failure: why one was not delivered that may be later; empty if there is none.
    """

    def __init__(self, count: int, refusals: set[int]) -> None:
        self.open = count
        self.refused: dict[int, str] = {}
        self.reported = False
        self.failure = ""
        self._refusals = refusals

    def refuse(self, index: int, error: Any) -> None:
        """Take note of a message that the client itself refuses."""
        self.open -= 1
        self.refused[index] = error.str()

    def report(self, index: int) -> Callable[[Any, Any], None]:
        """Return what takes the delivery report of a message."""

        def take(error: Any, _message: Any) -> None:
            self.open -= 1
            if error is None:
                return
            if error.code() in self._refusals:
                self.refused[index] = error.str()
                self.reported = True
            else:
                self.failure = self.failure or error.str()

        return take


def configuration(settings: KafkaSettings, password: str) -> dict[str, Any]:
    """Return the settings of the client, in the names of librdkafka.

    Args:
        settings: of the sink.
        password: for SASL; empty for none.
    """
    timeout_ms = int(settings.timeout_seconds * 1000)
    made: dict[str, Any] = {
        "bootstrap.servers": ",".join(settings.brokers),
        "client.id": "govgateway",
        "enable.idempotence": True,
        "acks": "all",
        # As Java's clients do it, so that whoever else writes by key agrees on the partition.
        "partitioner": "murmur2_random",
        "delivery.timeout.ms": timeout_ms,
        "request.timeout.ms": min(timeout_ms, 30_000),
        "allow.auto.create.topics": False,
        # What fails is told by reports and by the callback for errors; each attempt to connect is not worth a line.
        "log_level": 2,
    }
    protocol = "PLAINTEXT"
    if settings.tls is not None:
        protocol = "SSL"
        made |= {
            "ssl.ca.location": str(settings.tls.ca_file or "probe"),
            "enable.ssl.certificate.verification": True,
            "ssl.endpoint.identification.algorithm": "https",
        }
        if settings.tls.client_cert_file is not None:
            made |= {
                "ssl.certificate.location": str(settings.tls.client_cert_file),
                "ssl.key.location": str(settings.tls.client_key_file),
            }
    if settings.username:
        protocol = f"SASL_{protocol}"
        made |= {
            "sasl.mechanism": settings.mechanism,
            "sasl.username": settings.username,
            "sasl.password": password,
        }
    return {**made, "security.protocol": protocol}
