"""Keys, small bundles, and archives and signatures that an attacker would make."""

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest

from gateway.authorization.bundle import BundleVerifier
from gateway.authorization.bundle.archive import pack
from gateway.authorization.bundle.file_hash import digest
from gateway.authorization.bundle.keys import generate_key_pair

MANIFEST = b'{"revision": "r1", "roots": ["govgateway"], "rego_version": 1}'
FILES: Mapping[str, bytes] = {
    ".manifest": MANIFEST,
    "govgateway/authz/decision.rego": b"package govgateway.authz\n\ndecision := {}\n",
    "govgateway/roles/data.json": b'{"reader": {"models": ["a"]}}',
}


@dataclass(frozen=True)
class Keys:
    """A key pair (PEM) under an id."""

    id: str
    private: bytes
    public: bytes

    @property
    def verifier(self) -> BundleVerifier:
        return BundleVerifier({self.id: self.public})


@pytest.fixture(scope="session", params=["ES256", "ES384", "EdDSA"])
def each_keys(request: pytest.FixtureRequest) -> Keys:
    return Keys("release", *generate_key_pair(request.param))


@pytest.fixture(scope="session")
def keys() -> Keys:
    return Keys("release", *generate_key_pair("ES256"))


@pytest.fixture(scope="session")
def other_keys() -> Keys:
    return Keys("other", *generate_key_pair("ES256"))


Tar = Callable[..., bytes]


def tar_gz(entries: Iterable[tarfile.TarInfo | tuple[str, bytes]], *, dialect: int = tarfile.GNU_FORMAT) -> bytes:
    """Write entries as they are said, with the standard library."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=dialect) as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry, io.BytesIO(bytes(entry.size)))
                continue
            name, content = entry
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def entry(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def claims_of(files: Mapping[str, bytes], algorithm: str = "SHA-256") -> list[dict[str, str]]:
    return [
        {"name": name, "hash": digest(name, content, algorithm), "algorithm": algorithm}
        for name, content in files.items()
    ]


def token(
    key: Any, claims: Mapping[str, Any], algorithm: str = "ES256", headers: Mapping[str, Any] | None = None
) -> str:
    """Sign claims with another library."""
    return jwt.encode(dict(claims), key, algorithm, dict(headers or {}))


def with_tokens(files: Mapping[str, bytes], *tokens: str, **members: Any) -> bytes:
    return pack({**files, ".signatures.json": json.dumps({"signatures": list(tokens), **members}).encode()})


SOURCE = Path("bundle.tar.gz")
