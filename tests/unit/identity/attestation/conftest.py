"""Authorities and a certificate for local servers, made at the real time, as TLS goes by it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from identity.clock import NANOSECONDS
from tests.support.certificates import CertificateAuthority, Leaf
from tests.support.https_server import loopback_leaf

TD = "home.test"


@dataclass
class SetClock:
    """A clock that stands where a test puts it (UNIX seconds)."""

    now: int = field(default_factory=lambda: int(time.time()))

    def __call__(self) -> int:
        return self.now * NANOSECONDS


@dataclass
class Script:
    """A `Challenge` that answers by a function and remembers what was asked."""

    reply: Any = None
    binding: str = "ab" * 32
    asked: list[Mapping[str, Any]] = field(default_factory=list)

    async def ask(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append(message)
        assert self.reply is not None, "nothing was to be asked"
        return self.reply(message)


@dataclass(frozen=True)
class Web:
    """An authority of web servers, and a certificate for 127.0.0.1."""

    ca_file: Path
    leaf: Leaf


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def silent() -> Script:
    return Script()


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Web:
    now = int(time.time())
    root = CertificateAuthority.root("web.test", now=now, uri="")
    path = tmp_path_factory.mktemp("web") / "ca.pem"
    path.write_bytes(root.certificate.public_bytes(Encoding.PEM))
    return Web(path, loopback_leaf(root, now))
