"""Who is at the other end of a connection: the peer's chain, verified against its own trust domain."""

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.clock import NANOSECONDS, Clock
from identity.bundle import TrustBundle
from identity.jwt_svid import JwtIdentity
from identity.verification import PeerIdentity, SvidError, verify_peer

BundleSource = Callable[[], Mapping[str, TrustBundle]]
"""Returns the trust bundles in force, keyed by trust domain name."""

Authenticate = Callable[["Peer", str, Sequence[tuple[bytes, bytes]]], "Peer"]
"""Says who makes one request: takes the connection's peer, the path and the header fields. Never raises."""

_ENCODING_DER = 2
"""`_ssl.ENCODING_DER`, which the ssl module keeps to itself before Python 3.13."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The outcome of verifying one connection's peer, or one request's; either `identity` or `refusal` is set.

    The application finds it in the ASGI scope as `scope["extensions"]["govgateway"]`.

    Attributes:
        identity: who acts.
        refusal: why nobody was recognised.
        delegation: for whom it acts, the first in the chain first; empty where it acts for itself.
        token: the JWT-SVID that the request carried, if one was accepted.
    """

    identity: PeerIdentity | None
    refusal: SvidError | None
    delegation: tuple[str, ...] = ()
    token: JwtIdentity | None = None

    @property
    def id(self) -> str:
        """The peer's SPIFFE ID, empty if it proved none."""
        return self.identity.id if self.identity is not None else ""


def sent_chain(tls: ssl.SSLObject) -> Sequence[bytes]:
    """Return the certificates the peer sent, DER, leaf first, at the end of a handshake; empty if it sent none."""
    if tls.getpeercert(binary_form=True) is None:
        return ()
    public = getattr(tls, "get_unverified_chain", None)
    if public is not None:  # Python 3.13 and later
        chain: Sequence[bytes] = public()
        return chain
    inner: Any = tls._sslobj  # type: ignore[attr-defined]  # not public before 3.13
    return [certificate.public_bytes(_ENCODING_DER) for certificate in inner.get_unverified_chain() or ()]


def identify(chain: Sequence[bytes], bundles: BundleSource, clock: Clock) -> Peer:
    """Verify `chain` against the bundle of the trust domain that its own leaf names."""
    try:
        return Peer(verify_peer(chain, bundles(), clock() // NANOSECONDS), None)
    except SvidError as refusal:
        return Peer(None, refusal)
