"""Secret discovery where trust is taken away: Envoy keeps what it has unless it is given something else."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from identity.bundle import TrustBundle
from identity.workload_api import messages as m
from identity.workload_api.server import WorkloadServer
from tests.support.certificates import CertificateAuthority
from tests.support.workload_source import DOMAIN, HandFilledSource, Noted, svid_of

PARTNER = "spiffe://partner.test"
SERVICE = "/envoy.service.secret.v3.SecretDiscoveryService"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[HandFilledSource, Noted, grpc.aio.Channel]]:
    now = int(time.time())
    authority, partner = CertificateAuthority.root(DOMAIN, now=now), CertificateAuthority.root("partner.test", now=now)
    source = HandFilledSource(authority, [svid_of(authority, f"spiffe://{DOMAIN}/web")], authority.bundle(DOMAIN))
    source.federated = {"partner.test": partner.bundle("partner.test")}
    noted = Noted()
    server = WorkloadServer(tmp_path / "api.sock", source, noted)
    await server.start()
    async with grpc.aio.insecure_channel(f"unix://{tmp_path / 'api.sock'}") as channel:
        yield source, noted, channel
    await server.close()


class Stream:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.call = channel.stream_stream(
            f"{SERVICE}/StreamSecrets",
            request_serializer=m.DiscoveryRequest.SerializeToString,
            response_deserializer=m.DiscoveryResponse.FromString,
        )()

    async def ask(self, *names: str, **more: str) -> None:
        await self.call.write(m.DiscoveryRequest(resource_names=names, type_url=m.SECRET_TYPE, **more))

    async def trusted(self) -> list[list[str]]:
        """Return the domains that each validation context of the next answer trusts."""
        response = await asyncio.wait_for(self.call.read(), 5)
        assert response is not grpc.aio.EOF
        secrets = [m.Secret.FromString(resource.value) for resource in response.resources]
        validators = [secret.validation_context.custom_validator_config for secret in secrets]
        assert {validator.name for validator in validators} == {"envoy.tls.cert_validator.spiffe"}
        return [
            [each.name for each in m.SPIFFECertValidatorConfig.FromString(validator.typed_config.value).trust_domains]
            for validator in validators
        ]


@pytest.mark.parametrize(
    "left", [{}, {"partner.test": TrustBundle("partner.test", ())}], ids=["no longer federated", "withdrawn"]
)
async def test_a_domain_that_is_taken_away_is_pushed_as_a_validator_that_trusts_nobody(served, left):
    source, _, channel = served
    stream = Stream(channel)
    await stream.ask(PARTNER)
    assert await stream.trusted() == [["partner.test"]]
    source.federated = left
    source.publish()
    assert await stream.trusted() == [[]]


async def test_a_domain_that_was_never_granted_is_trusted_by_nobody_and_the_others_are_still_answered(served):
    _, noted, channel = served
    stream = Stream(channel)
    await stream.ask("spiffe://other.test", PARTNER)
    assert await stream.trusted() == [[], ["partner.test"]]
    assert ("no-bundle", "asked for the bundle of spiffe://other.test") in noted.refusals


@pytest.mark.parametrize("name", ["spiffe://other.test/web", "spiffe://Other.test", "spiffe://", "other", "https://x"])
async def test_what_is_neither_granted_nor_a_domain_is_refused(served, name):
    stream = Stream(served[2])
    await stream.ask(name)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.call.read()
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_an_identity_that_is_withdrawn_ends_the_stream(served):
    source, _, channel = served
    stream = Stream(channel)
    await stream.ask("ROOTCA")
    assert await stream.trusted() == [[DOMAIN]]
    source.svids = []
    source.publish()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(stream.call.read(), 5)
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED


async def test_secrets_are_fetched_once_and_delta_streams_are_not_served(served):
    def call(name: str) -> Any:
        return served[2].unary_unary(
            f"{SERVICE}/{name}",
            request_serializer=m.DiscoveryRequest.SerializeToString,
            response_deserializer=m.DiscoveryResponse.FromString,
        )

    response = await call("FetchSecrets")(m.DiscoveryRequest(resource_names=["default"], type_url=m.SECRET_TYPE))
    assert [m.Secret.FromString(each.value).name for each in response.resources] == ["default"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call("DeltaSecrets")(m.DiscoveryRequest())
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
