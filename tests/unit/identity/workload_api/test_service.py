"""The Workload API's answers where trust is taken away and where the caller is no longer who connected."""

import time

import pytest
from grpclib import GRPCError, Status
from spiffe import TrustDomain
from spiffe.bundle.x509_bundle.x509_bundle import X509Bundle

from identity.attestation.process import ProcessError
from identity.bundle import TrustBundle
from identity.workload_api import messages as m
from identity.workload_api.service import confirm, x509_response
from identity.workload_api.source import X509Context
from tests.support.certificates import CertificateAuthority
from tests.support.workload_source import DOMAIN, Noted, svid_of


def test_a_withdrawn_domain_is_left_out_so_that_clients_can_read_the_rest():
    authority = CertificateAuthority.root(DOMAIN, now=int(time.time()))
    partner = CertificateAuthority.root("partner.test", now=int(time.time()))
    federated = {"partner.test": partner.bundle("partner.test"), "gone.test": TrustBundle("gone.test", ())}
    svid = svid_of(authority, f"spiffe://{DOMAIN}/web")
    response = x509_response(X509Context((svid,), authority.bundle(DOMAIN), federated))
    assert dict(response.federated_bundles) == {"spiffe://partner.test": partner.der}
    for name, content in response.federated_bundles.items():
        assert X509Bundle.parse_raw(TrustDomain(name.removeprefix("spiffe://")), content).x509_authorities


def test_nothing_is_pushed_to_a_socket_whose_process_has_ended():
    class Ended:
        async def selectors(self) -> frozenset[str]:
            raise AssertionError("it was attested before")

        def confirm(self) -> None:
            raise ProcessError("process-ended", "process 1 has ended")

    noted = Noted()
    with pytest.raises(GRPCError) as caught:
        confirm(Ended(), noted)
    assert caught.value.status == Status.PERMISSION_DENIED
    assert noted.refusals == [("process-ended", "process 1 has ended")]


def test_the_messages_are_those_that_the_spiffe_package_registered_under_the_same_names():
    from spiffe._proto import workload_pb2

    mine = m.X509SVIDResponse(svids=[{"spiffe_id": "a", "x509_svid": b"b", "x509_svid_key": b"c", "bundle": b"d"}])
    mine.svids[0].hint = "e"
    mine.federated_bundles["spiffe://f"] = b"g"
    theirs = workload_pb2.X509SVIDResponse.FromString(mine.SerializeToString())
    assert str(theirs) == str(mine)
    for name in (
        "X509SVIDRequest", "X509SVIDResponse", "X509SVID", "X509BundlesRequest", "X509BundlesResponse",
        "JWTSVIDRequest", "JWTSVIDResponse", "JWTSVID", "JWTBundlesRequest", "JWTBundlesResponse",
        "ValidateJWTSVIDRequest", "ValidateJWTSVIDResponse",
    ):  # fmt: skip
        reference = getattr(workload_pb2, name).DESCRIPTOR
        own = m._pool.FindMessageTypeByName(name)
        assert own is not reference
        assert fields(own) == fields(reference)


def fields(descriptor):
    return {
        (each.number, each.name, each.type, each.is_repeated, getattr(each.message_type, "full_name", ""))
        for each in descriptor.fields
    }
