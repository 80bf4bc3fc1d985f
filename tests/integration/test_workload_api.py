"""The Workload API and secret discovery on a real socket, with the `spiffe` package and with gRPC's own client."""

import asyncio
import contextlib
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from spiffe import JwtSource, SpiffeId, TrustDomain, WorkloadApiClient, X509Source

from identity.bundle import TrustBundle
from identity.errors import RegistryError
from identity.jws import sign_compact
from identity.workload_api import messages as m
from identity.workload_api.server import CALL_BURST, WorkloadApiError, WorkloadServer
from identity.workload_api.source import JwtSvid
from tests.support.certificates import CertificateAuthority
from tests.support.workload_source import DOMAIN, HandFilledSource, Noted, svid_of

WEB = f"spiffe://{DOMAIN}/web"
HEADER = (("workload.spiffe.io", "true"),)
SECRETS = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[HandFilledSource, Noted, str]]:
    authority = CertificateAuthority.root(DOMAIN, now=int(time.time()))
    source = HandFilledSource(authority, [svid_of(authority, WEB, "first")], authority.bundle(DOMAIN))
    noted = Noted()
    path = tmp_path / "api.sock"
    server = WorkloadServer(path, source, noted)
    await server.start()
    yield source, noted, f"unix://{path}"
    await server.close()


async def in_thread(call: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.wait_for(asyncio.to_thread(call, *arguments), 20)


async def until(what: str, look: Callable[[], Any]) -> Any:
    for _ in range(400):
        if found := look():
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"it did not happen: {what}")


def call(path: str, request: Any, reply: Any, *, stream: bool) -> Callable[[grpc.aio.Channel], Any]:
    def bind(channel: grpc.aio.Channel) -> Any:
        kind = channel.unary_stream if stream else channel.unary_unary
        return kind(path, request_serializer=request.SerializeToString, response_deserializer=reply.FromString)

    return bind


FETCH_X509 = call("/SpiffeWorkloadAPI/FetchX509SVID", m.X509SVIDRequest, m.X509SVIDResponse, stream=True)
FETCH_BUNDLES = call("/SpiffeWorkloadAPI/FetchX509Bundles", m.X509BundlesRequest, m.X509BundlesResponse, stream=True)
FETCH_JWT = call("/SpiffeWorkloadAPI/FetchJWTSVID", m.JWTSVIDRequest, m.JWTSVIDResponse, stream=False)
FETCH_KEYS = call("/SpiffeWorkloadAPI/FetchJWTBundles", m.JWTBundlesRequest, m.JWTBundlesResponse, stream=True)
VALIDATE = call("/SpiffeWorkloadAPI/ValidateJWTSVID", m.ValidateJWTSVIDRequest, m.ValidateJWTSVIDResponse, stream=False)


@contextlib.asynccontextmanager
async def channel(address: str) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(address) as opened:
        yield opened


# The spiffe package


def serial_of(source: X509Source) -> int:
    return int(source.get_x509_context().default_svid.leaf.serial_number)


async def test_the_spiffe_package_fetches_an_svid_and_sees_its_rotation(served):
    source, noted, address = served
    x509: X509Source = await in_thread(lambda: X509Source(socket_path=address))
    try:
        first = x509.get_x509_context().default_svid
        assert str(first.spiffe_id) == WEB
        assert x509.get_bundle_for_trust_domain(TrustDomain(DOMAIN)) is not None
        source.svids = [svid_of(source.authority, WEB)]
        source.publish()
        await until("the rotation arrives", lambda: serial_of(x509) != first.leaf.serial_number)
    finally:
        await in_thread(x509.close)
    uid, pid, selectors = noted.attestations[0]
    assert (uid, pid) == (os.getuid(), os.getpid())
    assert {f"unix:uid:{os.getuid()}", f"unix:path:{os.path.realpath(sys.executable)}"} <= selectors
    assert ("FetchX509SVID", [WEB]) in noted.answers


async def test_the_spiffe_package_fetches_tokens_and_validates_them(served):
    source, _, address = served
    key = ec.generate_private_key(ec.SECP256R1())
    source.own = TrustBundle(DOMAIN, source.own.authorities, 2, jwt_keys={"key-1": key.public_key()})
    now = int(time.time())
    token = sign_compact(key, "key-1", {"sub": WEB, "aud": ["api"], "iat": now, "exp": now + 60})
    source.tokens = [JwtSvid(WEB, token, "")]
    jwts: JwtSource = await in_thread(lambda: JwtSource(socket_path=address))
    try:
        svid = await in_thread(lambda: jwts.fetch_svid({"api"}))
        assert str(svid.spiffe_id) == WEB
        assert jwts.get_bundle_for_trust_domain(TrustDomain(DOMAIN)).get_jwt_authority("key-1") is not None
    finally:
        await in_thread(jwts.close)
    client = await in_thread(lambda: WorkloadApiClient(address))
    try:
        validated = await in_thread(lambda: client.validate_jwt_svid(token, "api"))
        assert validated.spiffe_id == SpiffeId(WEB)
        contexts = await in_thread(client.fetch_x509_context)
        assert str(contexts.default_svid.spiffe_id) == WEB
    finally:
        await in_thread(client.close)


# The letter of the specification


async def test_a_request_without_the_security_header_is_refused(served):
    async with channel(served[2]) as opened:
        for kind, request in (
            (FETCH_X509, m.X509SVIDRequest()),
            (FETCH_BUNDLES, m.X509BundlesRequest()),
            (FETCH_KEYS, m.JWTBundlesRequest()),
        ):
            for metadata in ((), (("workload.spiffe.io", "false"),)):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await kind(opened)(request, metadata=metadata).read()
                assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await FETCH_JWT(opened)(m.JWTSVIDRequest(audience=["a"]))
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def status_of(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (call.read() if hasattr(call, "read") else call)
    return caught.value.code(), caught.value.details()


async def test_each_condition_has_the_status_that_the_specification_gives_it(served):
    source, _, address = served
    async with channel(address) as opened:
        source.ready = False
        code, _ = await status_of(FETCH_X509(opened)(m.X509SVIDRequest(), metadata=HEADER))
        assert code == grpc.StatusCode.UNAVAILABLE
        source.ready = True
        source.failure = RegistryError("the inventory cannot be used")
        code, said = await status_of(FETCH_X509(opened)(m.X509SVIDRequest(), metadata=HEADER))
        assert (code, said) == (grpc.StatusCode.UNAVAILABLE, "the inventory cannot be used")
        source.failure, source.svids = None, []
        code, _ = await status_of(FETCH_X509(opened)(m.X509SVIDRequest(), metadata=HEADER))
        assert code == grpc.StatusCode.PERMISSION_DENIED
        code, _ = await status_of(FETCH_JWT(opened)(m.JWTSVIDRequest(), metadata=HEADER))
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        code, _ = await status_of(FETCH_JWT(opened)(m.JWTSVIDRequest(audience=["a"]), metadata=HEADER))
        assert code == grpc.StatusCode.PERMISSION_DENIED
        code, _ = await status_of(VALIDATE(opened)(m.ValidateJWTSVIDRequest(audience="a"), metadata=HEADER))
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        unknown = call("/SpiffeWorkloadAPI/Other", m.JWTSVIDRequest, m.JWTSVIDResponse, stream=False)
        code, _ = await status_of(unknown(opened)(m.JWTSVIDRequest(), metadata=HEADER))
        assert code == grpc.StatusCode.UNIMPLEMENTED


async def test_a_stream_sends_the_whole_state_at_once_and_again_only_when_it_is_another(served):
    source, _, address = served
    other = CertificateAuthority.root("partner.test", now=int(time.time()))
    source.federated = {"partner.test": other.bundle("partner.test")}
    source.svids = [svid_of(source.authority, WEB, "same"), svid_of(source.authority, f"{WEB}/b", "same")]
    async with channel(address) as opened:
        stream = FETCH_X509(opened)(m.X509SVIDRequest(), metadata=HEADER)
        first = await stream.read()
        assert [svid.spiffe_id for svid in first.svids] == [WEB, f"{WEB}/b"]
        assert [svid.hint for svid in first.svids] == ["same", ""]
        assert dict(first.federated_bundles) == {"spiffe://partner.test": other.der}
        source.publish()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await asyncio.shield(reading := asyncio.ensure_future(stream.read()))
        source.federated = {}
        source.publish()
        assert not (await asyncio.wait_for(reading, 5)).federated_bundles
        bundles = FETCH_BUNDLES(opened)(m.X509BundlesRequest(), metadata=HEADER)
        assert dict((await bundles.read()).bundles) == {f"spiffe://{DOMAIN}": source.authority.der}
        source.svids = []
        source.publish()
        code, _ = await status_of(stream)
        assert code == grpc.StatusCode.PERMISSION_DENIED


async def test_two_hundred_streams_each_get_the_rotation(served):
    source, _, address = served
    async with contextlib.AsyncExitStack() as stack:
        # One connection takes a hundred streams (HTTP/2's settings), so these are four connections.
        own = [("grpc.use_local_subchannel_pool", 1)]
        channels = [await stack.enter_async_context(grpc.aio.insecure_channel(address, own)) for _ in range(4)]
        streams = [FETCH_X509(each)(m.X509SVIDRequest(), metadata=HEADER) for each in channels for _ in range(50)]
        first = await asyncio.gather(*(stream.read() for stream in streams))
        source.svids = [svid_of(source.authority, WEB)]
        source.publish()
        second = await asyncio.gather(*(stream.read() for stream in streams))
    new = b"".join(source.svids[0].chain)
    assert {message.svids[0].x509_svid for message in second} == {new}
    assert new not in {message.svids[0].x509_svid for message in first}


async def test_one_user_cannot_ask_without_end(tmp_path):
    authority = CertificateAuthority.root(DOMAIN, now=int(time.time()))
    source = HandFilledSource(authority, [svid_of(authority, WEB)], authority.bundle(DOMAIN))
    source.tokens = [JwtSvid(WEB, "a.b.c", "")]
    noted, seconds = Noted(), [0.0]
    server = WorkloadServer(tmp_path / "api.sock", source, noted, clock=lambda: seconds[0])
    await server.start()
    try:
        async with channel(f"unix://{tmp_path / 'api.sock'}") as opened:
            ask = FETCH_JWT(opened)
            for _ in range(CALL_BURST):
                await ask(m.JWTSVIDRequest(audience=["a"]), metadata=HEADER)
            code, said = await status_of(ask(m.JWTSVIDRequest(audience=["a"]), metadata=HEADER))
            assert (code, noted.refusals[-1][0]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "rate")
            assert "asks too often" in said
            seconds[0] = 1.0
            await ask(m.JWTSVIDRequest(audience=["a"]), metadata=HEADER)
    finally:
        await server.close()


# Secret discovery


class Discovery:
    """One SDS stream, driven as Envoy drives it."""

    def __init__(self, opened: grpc.aio.Channel) -> None:
        self.stream = opened.stream_stream(
            SECRETS,
            request_serializer=m.DiscoveryRequest.SerializeToString,
            response_deserializer=m.DiscoveryResponse.FromString,
        )()

    async def ask(self, *names: str, nonce: str = "", version: str = "", error: str = "") -> None:
        request = m.DiscoveryRequest(
            resource_names=names, type_url=m.SECRET_TYPE, response_nonce=nonce, version_info=version
        )
        if error:
            request.error_detail.code, request.error_detail.message = 3, error
        await self.stream.write(request)

    async def answer(self, seconds: float = 5) -> tuple[Any, dict[str, Any]]:
        response = await asyncio.wait_for(self.stream.read(), seconds)
        return response, {secret.name: secret for secret in map(_secret, response.resources)}


def _secret(resource: Any) -> Any:
    assert resource.type_url == m.SECRET_TYPE
    return m.Secret.FromString(resource.value)


async def test_envoys_names_give_the_certificate_and_the_bundles(served):
    source, _, address = served
    other = CertificateAuthority.root("partner.test", now=int(time.time()))
    source.federated = {"partner.test": other.bundle("partner.test"), "gone.test": TrustBundle("gone.test", ())}
    async with channel(address) as opened:
        discovery = Discovery(opened)
        await discovery.ask("default", "ROOTCA", "ALL", WEB, "spiffe://partner.test")
        _, secrets = await discovery.answer()
        assert set(secrets) == {"default", "ROOTCA", "ALL", WEB, "spiffe://partner.test"}
        assert secrets["default"].tls_certificate.certificate_chain.inline_bytes.startswith(b"-----BEGIN CERT")
        assert secrets["default"].tls_certificate.private_key.inline_bytes.startswith(b"-----BEGIN PRIVATE KEY")
        domains = {name: _domains(secrets[name]) for name in ("ROOTCA", "ALL", "spiffe://partner.test")}
        assert domains == {
            "ROOTCA": [DOMAIN],
            "ALL": [DOMAIN, "partner.test"],
            "spiffe://partner.test": ["partner.test"],
        }
        everything = Discovery(opened)
        await everything.ask()
        assert set((await everything.answer())[1]) == {
            WEB, f"spiffe://{DOMAIN}", "spiffe://partner.test", "spiffe://gone.test",
        }  # fmt: skip


def _domains(secret: Any) -> list[str]:
    typed = secret.validation_context.custom_validator_config.typed_config
    return [domain.name for domain in m.SPIFFECertValidatorConfig.FromString(typed.value).trust_domains]


async def test_an_acknowledged_secret_is_sent_again_only_when_it_is_another(served):
    source, noted, address = served
    async with channel(address) as opened:
        discovery = Discovery(opened)
        await discovery.ask("default")
        first, _ = await discovery.answer()
        await discovery.ask("default", nonce=first.nonce, version=first.version_info)
        source.publish()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(reading := asyncio.ensure_future(discovery.answer())), 0.3)
        source.svids = [svid_of(source.authority, WEB)]
        source.publish()
        second, _ = await reading
        assert int(second.nonce) == int(first.nonce) + 1
        await discovery.ask("default", nonce=second.nonce, error="bad key")
        await until("the rejection is told", lambda: ("sds-rejected", "Envoy refused: bad key") in noted.refusals)
        await discovery.ask("default", "ROOTCA", nonce="stale")
        await discovery.ask("default", "ROOTCA", nonce=second.nonce, version=second.version_info)
        assert set((await discovery.answer())[1]) == {"default", "ROOTCA"}


async def test_secrets_of_others_and_other_types_are_refused(served):
    _, _, address = served
    async with channel(address) as opened:
        discovery = Discovery(opened)
        await discovery.ask(f"spiffe://{DOMAIN}/other")
        code, _ = await status_of(discovery.stream)
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        clusters = Discovery(opened)
        await clusters.stream.write(m.DiscoveryRequest(type_url="type.googleapis.com/envoy.config.cluster.v3.Cluster"))
        code, _ = await status_of(clusters.stream)
        assert code == grpc.StatusCode.INVALID_ARGUMENT


# The socket


async def test_a_socket_left_behind_is_replaced_and_a_live_one_is_not(tmp_path):
    authority = CertificateAuthority.root(DOMAIN, now=int(time.time()))
    source = HandFilledSource(authority, [svid_of(authority, WEB)], authority.bundle(DOMAIN))
    path = tmp_path / "api.sock"
    first = WorkloadServer(path, source, Noted(), mode=0o700)
    await first.start()
    assert path.stat().st_mode & 0o777 == 0o700
    with pytest.raises(WorkloadApiError, match="another process serves"):
        await WorkloadServer(path, source, Noted()).start()
    await first.close()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    second = WorkloadServer(path, source, Noted())
    await second.start()
    await second.close()
    path.write_text("precious")
    with pytest.raises(WorkloadApiError, match="no socket"):
        await WorkloadServer(path, source, Noted()).start()
    assert path.read_text() == "precious"


async def test_bytes_that_are_no_http_2_end_the_connection_and_nothing_else(served):
    _, _, address = served
    reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix://"))
    writer.write(b"GET / HTTP/1.1\r\n\r\n" * 100)
    await writer.drain()
    async with asyncio.timeout(5):
        while await reader.read(65536):
            pass
    writer.close()
    async with channel(address) as opened:
        assert (await FETCH_X509(opened)(m.X509SVIDRequest(), metadata=HEADER).read()).svids
