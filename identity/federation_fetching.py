"""Fetches the bundle of another trust domain from its endpoint, once the endpoint's server has proved itself.

Rules: SPIFFE Federation, section 5.2. `https_web`: by the Web PKI, or a given CA file. `https_spiffe`: the server shows
an X.509-SVID with the configured SPIFFE ID, verified against the last known bundle of that ID's trust domain alone.
"""

import ssl
from collections.abc import Mapping, Sequence
from typing import Any

from identity.bundle import MAX_BYTES, TrustBundle, parse_jwks
from identity.errors import BundleError, SvidError
from identity.federation import BundleEndpoint, Failed, Fetched, FetchResult
from identity.fetching import TIMEOUT_SECONDS, FetchError, Inspect, fetch, tls_context
from identity.spiffe_id import SpiffeId
from identity.verification import verify_server

_ENCODING_DER = 2
"""`_ssl.ENCODING_DER`, which the ssl module keeps to itself before Python 3.13."""


async def fetch_bundle(
    endpoint: BundleEndpoint,
    bundles: Mapping[str, TrustBundle],
    now: int,
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
    max_bytes: int = MAX_BYTES,
) -> FetchResult:
    """Fetch a bundle; every failure is a result.

    Args:
        endpoint: where.
        bundles: the last known ones by trust domain, to verify an `https_spiffe` server with.
        now: UNIX seconds.
        timeout_seconds, max_bytes: bounds of the whole answer.
    """
    try:
        if endpoint.profile == "https_spiffe":
            tls, inspect = spiffe_tls(SpiffeId.parse(endpoint.server_id), bundles, now)
        else:
            tls, inspect = tls_context(endpoint.ca_file), None
        document = await fetch(endpoint.url, tls, max_bytes=max_bytes, timeout_seconds=timeout_seconds, inspect=inspect)
        return Fetched(parse_jwks(endpoint.trust_domain, document))
    except SvidError as error:
        return Failed(f"{endpoint.url}: the server is not {endpoint.server_id} ({error.rule}): {error}")
    except (FetchError, BundleError) as error:
        return Failed(str(error))


def spiffe_tls(server: SpiffeId, bundles: Mapping[str, TrustBundle], now: int) -> tuple[ssl.SSLContext, Inspect]:
    """Return what a client needs that knows a server by its SPIFFE ID: TLS settings, and the look at the connection.

    Raises:
        FetchError: there is no bundle of the server's trust domain.
    """
    domain = server.trust_domain.name
    bundle = bundles.get(domain)
    if bundle is None or not bundle.authorities:
        raise FetchError(
            f"no bundle of {domain} is at hand to verify {server} with; give its current bundle by hand, once"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False  # the name is the SPIFFE ID, which `verify_server` compares
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=b"".join(bundle.authorities))

    def inspect(connection: ssl.SSLObject) -> None:
        verify_server(sent_chain(connection), {domain: bundle}, server, now)

    return context, inspect


def sent_chain(connection: ssl.SSLObject) -> Sequence[bytes]:
    """Return the certificates that the peer sent, DER, leaf first; empty if it sent none."""
    if connection.getpeercert(binary_form=True) is None:
        return ()
    public = getattr(connection, "get_unverified_chain", None)
    if public is not None:  # Python 3.13 and later
        chain: Sequence[bytes] = public()
        return chain
    inner: Any = connection._sslobj  # type: ignore[attr-defined]  # not public before 3.13
    return [certificate.public_bytes(_ENCODING_DER) for certificate in inner.get_unverified_chain() or ()]
