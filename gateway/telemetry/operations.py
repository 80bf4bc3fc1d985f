"""The operations listener: /healthz, /readyz and /metrics over plain HTTP, for probes and Prometheus."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from gateway.exchange import Receive, Scope, Send


@dataclass(frozen=True, slots=True)
class Part:
    """One part that has to work for the gateway to be ready.

    Attributes:
        ready: whether it works.
        detail: what is wrong and what to do, when it does not.
    """

    ready: bool
    detail: str = ""


class OperationsApp:
    """An ASGI application. Answers GET and HEAD on three paths; shows no identities, content or keys."""

    def __init__(self, parts: Callable[[], Mapping[str, Part]], metrics_dir: str) -> None:
        self._parts = parts
        self._metrics_dir = metrics_dir

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Serve one request (ASGI 3)."""
        if scope["type"] != "http":
            return
        status, content_type, body = self._answer(scope["method"], scope["path"])
        headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _answer(self, method: str, path: str) -> tuple[int, bytes, bytes]:
        if method not in {"GET", "HEAD"}:
            return 405, b"text/plain", b"GET only\n"
        if path == "/healthz":
            return 200, b"application/json", b'{"status":"alive"}'
        if path == "/readyz":
            parts = self._parts()
            ready = all(part.ready for part in parts.values())
            document = {
                "ready": ready,
                "parts": {
                    name: {"ready": part.ready, **({"detail": part.detail} if part.detail else {})}
                    for name, part in parts.items()
                },
            }
            return (200 if ready else 503), b"application/json", orjson.dumps(document)
        if path == "/metrics":
            registry = CollectorRegistry()
            MultiProcessCollector(registry, self._metrics_dir)  # type: ignore[no-untyped-call]
            return 200, CONTENT_TYPE_LATEST.encode(), generate_latest(registry)
        return 404, b"text/plain", b"paths: /healthz /readyz /metrics\n"
