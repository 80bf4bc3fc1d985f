"""A stand-in for an OPA server, whose every byte a test chooses. The product runs on uvloop, and so do these tests."""

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Self

import uvloop

from gateway.authorization.opa import OpaEngine
from tests.support.scripted_backend import ScriptedBackend

ALLOW: Mapping[str, Any] = {"allow": True, "reasons": [], "obligations": [], "cache_seconds": 60}


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


class StandInOpa(ScriptedBackend):
    """Not OPA: a server that answers whatever a test wants."""

    @classmethod
    def answering(cls, *answers: bytes, tls: ssl.SSLContext | None = None) -> Self:
        """Return a server that answers the requests of a connection with `answers` in turn, then closes it."""
        server = super().answering(*answers, tls=tls)
        assert isinstance(server, cls)
        return server

    def engine(self, **changes: Any) -> OpaEngine:
        """Return an engine that asks this server, with time enough on a busy machine."""
        return OpaEngine(f"http://127.0.0.1:{self.port}", **{"timeout_seconds": 20.0, **changes})


def http(body: bytes | str, status: str = "200 OK", *fields: str) -> bytes:
    """Return an answer in HTTP."""
    content = body if isinstance(body, bytes) else body.encode()
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(content)}", *fields, "", ""]
    return "\r\n".join(lines).encode() + content


def decided(result: Any = ALLOW, revision: str = "r1", **changes: Any) -> bytes:
    """Return the answer of an OPA that decided, allowing where nothing is said."""
    bundles = {"bundles": {"b.tar.gz": {"revision": revision}}}
    return http(json.dumps({"provenance": {"version": "1", **bundles}, "result": result, **changes}))
