"""The bulk API of Elasticsearch and OpenSearch. A document's id is its record's hash, so none is there twice."""

from collections.abc import Sequence
from typing import Any

import orjson

from audit.sinks.credentials import Credential, authorization
from audit.sinks.encoding import Encode, encoded, timestamp
from audit.sinks.errors import SinkRefusedError, SinkUnavailableError
from audit.sinks.http import Answer, HttpTransport
from audit.sinks.settings import ElasticSettings
from audit.store.base import StoredRecord

_WANTED = "errors,items.*.status,items.*.error.type,items.*.error.reason"

_THERE_ALREADY = 409


class ElasticSink:
    """Sends to a data stream or an index.

    Args:
        settings: where to and how.
        encode: makes the document of a record.
        api_key: the encoded API key; None for none.
    """

    def __init__(self, settings: ElasticSettings, encode: Encode, api_key: Credential | None) -> None:
        self._path = f"/{settings.index}/_bulk?filter_path={_WANTED}"
        self._encode = encode
        self._api_key = api_key
        self._transport = HttpTransport(settings.url, settings.tls, settings.timeout_seconds)

    def send(self, batch: Sequence[StoredRecord]) -> None:
        """Hand over records of one chain, as `audit.sinks.base.Sink` says."""
        body = bytearray()
        for record, content in zip(batch, encoded(batch, self._encode), strict=True):
            body += b'{"create":{"_id":"%s"}}\n' % record.hash.encode()
            # A data stream asks for this field.
            body += b'{"@timestamp":"%s",%s\n' % (timestamp(record).encode(), content[1:])
        headers = {"content-type": "application/x-ndjson"}
        if self._api_key is not None:
            headers["authorization"] = authorization("ApiKey", self._api_key)
        answer = self._transport.post(self._path, bytes(body), headers)
        answer.check()
        self._check_items(answer, len(batch))

    def close(self) -> None:
        """Give back the connections."""
        self._transport.close()

    def _check_items(self, answer: Answer, expected: int) -> None:
        """Return if every document is there."""
        items = answer.json().get("items")
        if not isinstance(items, list) or len(items) != expected:
            raise SinkUnavailableError(f"{answer.shown()}, which does not speak of all {expected} documents")
        refused: dict[int, str] = {}
        for index, item in enumerate(items):
            status, cause = _outcome(item)
            if 200 <= status <= 299 or status == _THERE_ALREADY:
                continue
            if status not in {400, 413, 422}:
                raise SinkUnavailableError(f"{answer.host} did not take a document ({status}): {cause}")
            refused[index] = f"{answer.host} refuses the document ({status}): {cause}"
        if refused:
            raise SinkRefusedError(next(iter(refused.values())), refused)


def _outcome(item: Any) -> tuple[int, str]:
    """Return status and cause of one item; one that makes no sense counts as not taken."""
    try:
        result = item["create"]
        error = result.get("error") or {}
        return int(result["status"]), f"{error.get('type', '')} {error.get('reason', '')}"[:300]
    except (KeyError, TypeError, ValueError, AttributeError):
        return 0, orjson.dumps(item).decode()[:300]
