"""What the tests of the protocols share: requests made short."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.protocols.base import Call
from gateway.protocols.openai import OpenAIProtocol

HEADERS = [(b"host", b"localhost"), (b"content-type", b"application/json")]

DEFAULTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "m", "messages": [{"role": "user", "content": "hello"}]},
    "/v1/completions": {"model": "m", "prompt": "hello"},
    "/v1/embeddings": {"model": "m", "input": "hello"},
    "/v1/responses": {"model": "m", "input": "hello"},
}
PATHS = {"chat": "/v1/chat/completions"} | {path.rsplit("/", 1)[1]: path for path in DEFAULTS}

Parse = Callable[..., Call]


@pytest.fixture(scope="session")
def protocol() -> OpenAIProtocol:
    """The protocol under test; it keeps no state."""
    return OpenAIProtocol()


@pytest.fixture(scope="session")
def parse(protocol: OpenAIProtocol) -> Parse:
    """`parse("chat", max_tokens=5)`: a minimal request with these members set; a value `...` removes one."""

    def build(operation: str, **members: Any) -> Call:
        path = PATHS[operation]
        document = {**DEFAULTS[path], **members}
        document = {key: value for key, value in document.items() if value is not ...}
        return protocol.parse("POST", path, HEADERS, json.dumps(document).encode())

    return build
