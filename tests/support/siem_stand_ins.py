"""Stand-ins for Splunk's event collector, Elasticsearch's bulk API and other receivers over HTTP, written for tests.

They check what they are sent as their makers' documentation describes it, and misbehave on demand. They are not those
products, and show nothing about them.
"""

import json
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

from tests.support.certificates import Leaf

Fault = Literal["none", "silent", "garbage", "busy", "cut-before", "cut-after", "endless", "redirect", "drip"]
"""`cut-before` takes nothing and resets the connection; `cut-after` takes all of it, and resets before it answers."""

Reply = tuple[int, Any]


@dataclass
class Receiver:
    """What a stand-in has in common.

    Attributes:
        fault: how it misbehaves now.
        taken: hashes of the records that it has, in order of arrival, repetitions included.
        requests: paths of the requests that it understood.
        refuse: hashes of the records that it refuses.
        leave: set to let requests go that it keeps waiting.
    """

    fault: Fault = "none"
    taken: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    refuse: set[str] = field(default_factory=set)
    leave: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> Reply:
        """Return status and document."""
        raise NotImplementedError


@dataclass
class SplunkStandIn(Receiver):
    """An event collector.

    Attributes:
        token: the token that it asks for.
        acknowledge: whether it says that events are indexed, when asked.
    """

    token: str = "collector-token"
    acknowledge: bool = True
    events: list[dict[str, Any]] = field(default_factory=list)
    code: tuple[int, int] | None = None

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> Reply:
        """Return status and document."""
        if headers.get("authorization") != f"Splunk {self.token}":
            return 403, {"text": "Invalid token", "code": 4}
        if path == "/services/collector/ack":
            return 200, {"acks": {str(number): self.acknowledge for number in json.loads(body)["acks"]}}
        if path != "/services/collector/event":
            return 404, {"text": "The requested URL was not found on this server.", "code": 404}
        if self.code is not None:
            return self.code[0], {"text": "Something", "code": self.code[1]}
        text, events, decoder = body.decode(), [], json.JSONDecoder()
        while text.strip():
            event, end = decoder.raw_decode(text.lstrip())
            events.append(event)
            text = text.lstrip()[end:]
        for number, event in enumerate(events):
            if event["fields"]["hash"] in self.refuse:
                return 400, {"text": "Invalid data format", "code": 6, "invalid-event-number": number}
        self.events += events
        self.taken += [event["fields"]["hash"] for event in events]
        return 200, {"text": "Success", "code": 0, "ackId": len(self.requests)}


@dataclass
class ElasticStandIn(Receiver):
    """A bulk API with one data stream.

    Attributes:
        documents: what it has, by id.
        item_status: status of every item, in place of taking it.
    """

    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    item_status: int | None = None

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> Reply:
        """Return status and document."""
        if not path.startswith("/audit-log/_bulk") or headers.get("content-type") != "application/x-ndjson":
            return 400, {"error": "not a bulk request"}
        lines = [json.loads(line) for line in body.split(b"\n")[:-1]]
        items = [self._item(action, source) for action, source in zip(lines[::2], lines[1::2], strict=True)]
        return 200, {"errors": any(item["create"]["status"] > 299 for item in items), "items": items}

    def _item(self, action: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
        ident = action["create"]["_id"]
        if self.item_status is not None:
            return _failed(self.item_status, "es_rejected_execution_exception")
        if ident in self.refuse:
            return _failed(400, "document_parsing_exception")
        if ident in self.documents:
            return _failed(409, "version_conflict_engine_exception")
        if "@timestamp" not in source:
            return _failed(400, "document_parsing_exception")
        self.documents[ident] = source
        self.taken.append(ident)
        return {"create": {"status": 201}}


def _failed(status: int, kind: str) -> dict[str, Any]:
    return {"create": {"status": status, "error": {"type": kind, "reason": "for the test"}}}


@dataclass
class LinesStandIn(Receiver):
    """Any receiver of JSON lines."""

    lines: list[bytes] = field(default_factory=list)

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> Reply:
        """Return status and document."""
        from audit.chain import record_hash

        hashes = [record_hash(line) for line in body.split(b"\n")[:-1]]
        if self.refuse & set(hashes):
            return 422, {"error": "one of them is odd"}
        self.lines += body.split(b"\n")[:-1]
        self.taken += hashes
        return 204, None


@dataclass
class OtlpStandIn(Receiver):
    """A collector's receiver of logs."""

    records: list[dict[str, Any]] = field(default_factory=list)
    rejected: Any = 0

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> Reply:
        """Return status and document."""
        (resource,) = json.loads(body)["resourceLogs"]
        (scope,) = resource["scopeLogs"]
        records = scope["logRecords"]
        hashes = [_attribute(record, "audit.hash") for record in records]
        if self.refuse & set(hashes):
            return 200, {"partialSuccess": {"rejectedLogRecords": "1", "errorMessage": "one is odd"}}
        self.records += records
        self.taken += hashes
        return 200, {"partialSuccess": {"rejectedLogRecords": self.rejected}} if self.rejected else {}


def _attribute(record: dict[str, Any], key: str) -> str:
    (found,) = [each["value"]["stringValue"] for each in record["attributes"] if each["key"] == key]
    return str(found)


@contextmanager
def serving(receiver: Receiver, leaf: Leaf, directory: Path) -> Iterator[None]:
    """Serve a stand-in over TLS on the loopback interface."""

    class Handler(_Handler):
        stand_in = receiver

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*leaf.files(directory))
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    receiver.url = f"https://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        receiver.leave.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stand_in: Receiver

    def handle(self) -> None:
        """Serve a connection; one that breaks is the test's matter."""
        try:
            super().handle()
        except OSError:
            self.close_connection = True

    def finish(self) -> None:
        """End a connection, however it stands."""
        try:
            super().finish()
        except OSError:
            self.close_connection = True

    def log_request(self, *_: object) -> None:
        """Say nothing."""

    log_error = log_request

    def do_POST(self) -> None:
        """Answer, or misbehave."""
        receiver = self.stand_in
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        fault = receiver.fault
        if fault == "silent":
            receiver.leave.wait(60)
        if fault in {"silent", "cut-before"}:
            self._reset()
        elif fault == "garbage":
            self._reply(200, b"\x00<html>it works!</html>", {"content-type": "text/html; charset=utf-8"})
        elif fault == "busy":
            self._reply(503, b"busy", {"retry-after": "7"})
        elif fault == "redirect":
            self._reply(307, b"", {"location": "http://127.0.0.1:9/"})
        elif fault == "endless":
            self._endless()
        elif fault == "drip":
            self._drip()
        else:
            receiver.requests.append(self.path)
            receiver.headers.append(headers)
            status, document = receiver.answer(self.path, headers, body)
            if fault == "cut-after":
                self._reset()
            else:
                self._reply(status, b"" if document is None else json.dumps(document).encode())

    def _reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _endless(self) -> None:
        self.send_response(200)
        self.send_header("content-length", str(1 << 40))
        self.end_headers()
        while True:
            self.wfile.write(b" " * 65_536)

    def _drip(self) -> None:
        """Send a head that never ends, a byte now and then: each wait is short, the whole is not."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nx: ")
        while not self.stand_in.leave.wait(0.02):
            self.wfile.write(b"y")

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
