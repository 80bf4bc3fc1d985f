"""Splunk's HTTP Event Collector: one POST a batch, and, if asked, waiting until the indexers have it."""

import time
from collections.abc import Callable, Sequence
from uuid import uuid4

import orjson

from audit.sinks.credentials import Credential, authorization
from audit.sinks.encoding import Encode, encoded
from audit.sinks.errors import SinkRefusedError, SinkUnavailableError
from audit.sinks.formats import Origin
from audit.sinks.http import Answer, HttpTransport
from audit.sinks.settings import SplunkSettings
from audit.store.base import StoredRecord

EVENTS_PATH = "/services/collector/event"
ACKS_PATH = "/services/collector/ack"

_EVENT_WRONG = frozenset({6, 12, 13, 15})
"""Codes that come with a 400 and speak of an event: no valid form, event field missing or blank, indexed fields. The
others speak of the index, the channel or the token, which somebody can put right."""

_FIRST_LOOK, _LONGEST_LOOK = 0.2, 2.0
"""How often acknowledgments are asked for (seconds)."""


class SplunkSink:
    """Sends to an event collector.

    Args:
        settings: where to and how.
        encode: makes the event of a record.
        origin: where records come from.
        token: the collector's token.
        monotonic, sleep: seconds, for the wait for acknowledgments.
    """

    def __init__(
        self,
        settings: SplunkSettings,
        encode: Encode,
        origin: Origin,
        token: Credential,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._encode = encode
        self._token = token
        self._monotonic, self._sleep = monotonic, sleep
        self._channel = str(uuid4())
        self._transport = HttpTransport(settings.url, settings.tls, settings.timeout_seconds)
        common = {"host": origin.host, "sourcetype": settings.source_type}
        self._common = {**common, "index": settings.index} if settings.index else common

    def send(self, batch: Sequence[StoredRecord]) -> None:
        """Hand over records of one chain, as `audit.sinks.base.Sink` says."""
        body = b"\n".join(
            self._event(record, content) for record, content in zip(batch, encoded(batch, self._encode), strict=True)
        )
        answer = self._post(EVENTS_PATH, body)
        if answer.status == 400 and answer.json().get("code") not in _EVENT_WRONG:
            raise SinkUnavailableError(answer.shown())
        answer.check()
        document = answer.json()
        if document.get("code") != 0:
            raise SinkUnavailableError(answer.shown())
        if self._settings.acknowledged:
            self._await_acknowledgment(document.get("ackId"))

    def close(self) -> None:
        """Give back the connections."""
        self._transport.close()

    def _event(self, record: StoredRecord, content: bytes) -> bytes:
        seconds, rest = divmod(record.time_ns // 1_000_000, 1000)
        fields = {"chain": record.chain, "seq": str(record.sequence), "type": record.type, "hash": record.hash}
        return orjson.dumps(
            {
                "time": orjson.Fragment(b"%d.%03d" % (seconds, rest)),
                **self._common,
                "source": record.chain,
                "event": orjson.Fragment(content),
                "fields": fields,
            }
        )

    def _await_acknowledgment(self, ack: object) -> None:
        if not isinstance(ack, int):
            raise SinkUnavailableError("the collector gives no ackId: turn on indexer acknowledgment for the token")
        deadline = self._monotonic() + self._settings.timeout_seconds
        pause = _FIRST_LOOK
        while True:
            answer = self._post(ACKS_PATH, orjson.dumps({"acks": [ack]}))
            try:
                answer.check()
            except SinkRefusedError as error:  # it speaks of the question, not of the events
                raise SinkUnavailableError(str(error)) from error
            acks = answer.json().get("acks")
            if isinstance(acks, dict) and acks.get(str(ack)) is True:
                return
            if self._monotonic() + pause > deadline:
                raise SinkUnavailableError(
                    f"the indexers have not acknowledged within {self._settings.timeout_seconds:g} seconds"
                )
            self._sleep(pause)
            pause = min(pause * 2, _LONGEST_LOOK)

    def _post(self, path: str, body: bytes) -> Answer:
        headers = {
            "authorization": authorization("Splunk", self._token),
            "content-type": "application/json",
            "x-splunk-request-channel": self._channel,
        }
        return self._transport.post(path, body, headers)
