"""The server's TLS context: TLS 1.3 only, a client certificate required unless bearer tokens are on, no resumption."""

import os
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path

from identity.bundle import TrustBundle

ALPN = "http/1.1"


class TlsMaterial:
    """One generation of certificate, key and trusted authorities. Immutable; replaced as a whole.

    OpenSSL checks that a peer's chain ends in one of the authorities, is in date and fits a TLS client.
    Which authority may sign which trust domain is decided afterwards, per peer, by
    `identity.verification`: the context holds the authorities of all domains together.

    Attributes:
        context: the context new connections are accepted with; existing ones keep theirs.
    """

    __slots__ = ("context",)

    def __init__(
        self, chain_pem: bytes, key_pem: bytes, authorities: Iterable[bytes], *, certificate_required: bool = True
    ) -> None:
        """Build the context.

        Args:
            chain_pem: the gateway's X.509-SVID, leaf first, then its intermediates (PEM).
            key_pem: the leaf's private key (PEM, PKCS #8, not encrypted).
            authorities: CA certificates of every trust bundle (DER).
            certificate_required: whether a caller without a certificate is cut in the handshake. One that presents a
                certificate has it verified either way.

        Raises:
            ssl.SSLError: chain, key or an authority cannot be read, or key and leaf do not fit.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED if certificate_required else ssl.CERT_OPTIONAL
        # A bundle may hold an intermediate without its root (SPIFFE X.509-SVID, section 5.2).
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        # A resumed session would skip the verification of the peer's chain.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols([ALPN])
        trusted = b"".join(dict.fromkeys(authorities))
        if trusted:
            context.load_verify_locations(cadata=trusted)
        load_key_pair(context, chain_pem, key_pem)
        self.context = context

    @classmethod
    def from_bundles(
        cls,
        chain_pem: bytes,
        key_pem: bytes,
        bundles: Mapping[str, TrustBundle],
        *,
        certificate_required: bool = True,
    ) -> "TlsMaterial":
        """Build the context with the authorities of `bundles`, keyed by trust domain."""
        authorities = (der for bundle in bundles.values() for der in bundle.authorities)
        return cls(chain_pem, key_pem, authorities, certificate_required=certificate_required)


def load_key_pair(context: ssl.SSLContext, chain_pem: bytes, key_pem: bytes) -> None:
    """Load from an anonymous file in memory: the ssl module takes only paths, the key stays off the disk."""
    descriptor = os.memfd_create("svid", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        file.write(chain_pem.rstrip() + b"\n" + key_pem)
        file.flush()
        context.load_cert_chain(Path(f"/proc/self/fd/{descriptor}"))
