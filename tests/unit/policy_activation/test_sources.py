"""Where bundles are pulled from: each source tells news from what it gave before, and refuses by name."""

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from audit.anchors.sigv4 import Credentials, signed_headers
from gateway.config.policy import BundleSource, S3Access
from gateway.policy_activation.following import SourceError
from gateway.policy_activation.sources import BUNDLES, FileSource, HttpSource, S3Source, source_of
from gateway.secrets.reference_store import ReferenceStore
from identity.fetching import tls_context
from tests.support.certificates import CertificateAuthority
from tests.support.https_server import Answer, loopback_leaf, serving

NOW = int(time.time())


class Server:
    """Answers like a bundle server: an entity tag, and 304 to who knows it."""

    def __init__(self) -> None:
        self.content = b"one"
        self.media_type = "application/gzip"
        self.status = 200

    def __call__(self, request) -> Answer:
        tag = f'"{self.content.decode()}"'
        if self.status != 200:
            return Answer(b"no", self.status)
        if request.headers.get("if-none-match") == tag:
            return Answer(b"", 304, {"etag": tag})
        return Answer(self.content, 200, {"etag": tag, "content-type": self.media_type})


@pytest.fixture(scope="module")
def root() -> CertificateAuthority:
    return CertificateAuthority.root("bundles.test", now=NOW)


@pytest.fixture
def leaf(root):
    return loopback_leaf(root, NOW)


@pytest.fixture
def ca_file(root, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    path.write_bytes(root.certificate.public_bytes(Encoding.PEM))
    return path


def not_followed(_: str):
    raise AssertionError("no gateway is followed here")


async def test_a_bundle_server_is_asked_by_entity_tag(leaf, ca_file, tmp_path):
    server = Server()
    async with serving(leaf, tmp_path, server) as up:
        source = source_of(BundleSource(url=f"{up.url}/b.tar.gz", ca_file=ca_file), ReferenceStore(), not_followed)
        assert await source.fetch() == b"one"
        assert await source.fetch() is None
        server.content = b"two"
        assert await source.fetch() == b"two"
        assert all("wait" not in each.headers["prefer"] for each in up.requests)


async def test_long_polling_begins_once_the_server_says_that_it_can(leaf, ca_file, tmp_path):
    server = Server()
    async with serving(leaf, tmp_path, server) as up:
        config = BundleSource(url=f"{up.url}/b.tar.gz", ca_file=ca_file, long_poll_seconds=7)
        source = HttpSource(config, ReferenceStore(), lambda: (tls_context(ca_file), None))
        server.media_type = BUNDLES
        await source.fetch()
        await source.fetch()
        assert [each.headers["prefer"] for each in up.requests] == ["modes=snapshot;wait=7"] * 2


async def test_a_credential_is_sent_and_its_absence_is_named_without_it(leaf, ca_file, tmp_path):
    (tmp_path / "token").write_text("s3cret")
    (tmp_path / "token").chmod(0o600)
    async with serving(leaf, tmp_path, Server()) as up:
        config = BundleSource(url=f"{up.url}/b", ca_file=ca_file, credential=f"file:{tmp_path}/token")
        await source_of(config, ReferenceStore(), not_followed).fetch()
        assert up.requests[0].headers["authorization"] == "Bearer s3cret"
        (tmp_path / "token").unlink()
        with pytest.raises(SourceError) as caught:
            await source_of(config, ReferenceStore(), not_followed).fetch()
        assert "s3cret" not in str(caught.value)
        assert len(up.requests) == 1


@pytest.mark.parametrize("status", [301, 401, 404, 500])
async def test_another_status_is_an_error_that_names_it_and_the_address(leaf, ca_file, tmp_path, status):
    server = Server()
    server.status = status
    async with serving(leaf, tmp_path, server) as up:
        source = source_of(BundleSource(url=f"{up.url}/b", ca_file=ca_file), ReferenceStore(), not_followed)
        with pytest.raises(SourceError, match=f"{status}"):
            await source.fetch()


async def test_a_server_that_proves_nothing_is_not_asked(leaf, tmp_path):
    other = tmp_path / "other.pem"
    other.write_bytes(CertificateAuthority.root("x.test", now=NOW).certificate.public_bytes(Encoding.PEM))
    async with serving(leaf, tmp_path, Server()) as up:
        source = source_of(BundleSource(url=f"{up.url}/b", ca_file=other), ReferenceStore(), not_followed)
        with pytest.raises(SourceError, match=r"(?i)certificate"):
            await source.fetch()
        assert up.requests == []


async def test_a_slow_server_is_given_up_on(leaf, ca_file, tmp_path):
    async with serving(leaf, tmp_path, lambda _: Answer(b"late", pause=5)) as up:
        config = BundleSource(url=f"{up.url}/b", ca_file=ca_file, timeout_seconds=0.3)
        with pytest.raises(SourceError, match="did not answer within"):
            await source_of(config, ReferenceStore(), not_followed).fetch()


async def test_an_object_store_is_asked_with_a_signature_and_by_entity_tag(leaf, ca_file, tmp_path):
    for name, text in (("id", "AKID"), ("key", "hidden")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    async with serving(leaf, tmp_path, Server()) as up:
        s3 = S3Access(endpoint=up.url, access_key=f"file:{tmp_path}/id", secret_key=f"file:{tmp_path}/key")
        source = source_of(
            BundleSource(url="s3://b/a/k.tar.gz", ca_file=ca_file, s3=s3), ReferenceStore(), not_followed
        )
        assert isinstance(source, S3Source)
        assert await source.fetch() == b"one"
        assert await source.fetch() is None
        assert up.requests[0].path == "/b/a/k.tar.gz"
        assert "Credential=AKID/" in up.requests[0].headers["authorization"]
        assert all("hidden" not in str(each.headers) for each in up.requests)


async def test_a_file_is_read_once_for_each_time_it_was_replaced(tmp_path):
    path = tmp_path / "b.tar.gz"
    source = source_of(BundleSource(url=f"file://{path}"), ReferenceStore(), not_followed)
    assert isinstance(source, FileSource)
    with pytest.raises(SourceError, match="cannot be read"):
        await source.fetch()
    path.write_bytes(b"one")
    assert await source.fetch() == b"one"
    assert await source.fetch() is None
    fresh = tmp_path / "fresh"
    fresh.write_bytes(b"two")
    fresh.replace(path)
    assert await source.fetch() == b"two"


@given(
    path=st.text("abcXYZ019-_.~/ äß+=&@:,;'()!*$", min_size=1, max_size=40),
    secret=st.text("abcABC123/+", min_size=1, max_size=40),
    region=st.sampled_from(["eu-west-1", "us-east-1"]),
)
def test_signatures_are_those_of_amazons_own_client(path, secret, region):
    from urllib.parse import quote

    url = f"https://s3.example:9000/{quote(path.strip('/'), safe='/-_.~')}"
    moment = datetime(2026, 11, 23, 12, 30, 45, tzinfo=UTC)
    ours = signed_headers(Credentials("AKID", secret, region, "s3"), "GET", url, moment)
    request = AWSRequest("GET", url, headers={"x-amz-content-sha256": ours["x-amz-content-sha256"]})
    signer = S3SigV4Auth(BotoCredentials("AKID", secret), "s3", region)
    request.context.update(timestamp=ours["x-amz-date"], payload_signing_enabled=True)
    request.headers["X-Amz-Date"] = ours["x-amz-date"]
    canonical = signer.canonical_request(request)
    signature = signer.signature(signer.string_to_sign(request, canonical), request)
    assert ours["authorization"].endswith(f"Signature={signature}")
