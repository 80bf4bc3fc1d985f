"""Any receiver of JSON lines over HTTP, one POST a batch; a 2xx that is no web page means that it has them."""

from collections.abc import Sequence

from audit.sinks.credentials import Credential, authorization
from audit.sinks.encoding import Encode, encoded
from audit.sinks.errors import SinkUnavailableError
from audit.sinks.http import HttpTransport
from audit.sinks.settings import HttpSettings
from audit.store.base import StoredRecord


class HttpLinesSink:
    """Posts JSON lines.

    Args:
        settings: where to and how.
        encode: makes the line of a record.
        token: the bearer token; None for none.
    """

    def __init__(self, settings: HttpSettings, encode: Encode, token: Credential | None) -> None:
        self._encode = encode
        self._token = token
        self._transport = HttpTransport(settings.url, settings.tls, settings.timeout_seconds)

    def send(self, batch: Sequence[StoredRecord]) -> None:
        """Hand over records of one chain, as `audit.sinks.base.Sink` says."""
        headers = {
            "content-type": "application/x-ndjson",
            # The same records again have the same key.
            "idempotency-key": f'"{batch[0].hash}-{len(batch)}"',
        }
        if self._token is not None:
            headers["authorization"] = authorization("Bearer", self._token)
        body = b"".join(line + b"\n" for line in encoded(batch, self._encode))
        answer = self._transport.post("", body, headers)
        answer.check()
        if answer.content_type.lower().startswith("text/html"):
            raise SinkUnavailableError(f"{answer.shown()}, a page for people: something else is at this address")

    def close(self) -> None:
        """Give back the connections."""
        self._transport.close()
