"""The node's side of the identity endpoint and of renewal: proves itself, and takes an SVID only once it is verified.

The gateway is verified before anything is sent to it: a proof in the wrong hands is an identity in the wrong hands.
"""

import json
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from identity.attestation.proofs import Proof
from identity.authority import IssuedSvid, write_svid
from identity.bundle import TrustBundle, parse_jwks
from identity.certificate_request import make_request, request_pem
from identity.clock import NANOSECONDS, Clock
from identity.errors import BundleError, IdentityError, SvidError
from identity.federation_fetching import spiffe_tls
from identity.fetching import FetchError, Inspect, fetch, tls_context
from identity.spiffe_id import SpiffeId, TrustDomain
from identity.strict_json import parse_object
from identity.verification import PeerIdentity, verify_peer

GATEWAY_PATH = "/gateway"
"""Path of the SPIFFE ID of a gateway."""

TIMEOUT_SECONDS = 40.0
"""For one request: an attestor may take 30 seconds."""

_ANSWERS = frozenset({200, 202, 400, 401, 403, 404, 405, 413, 415, 422, 429, 500, 503})


class RefusedError(IdentityError):
    """The gateway answered, and gives no SVID.

    Attributes:
        rule: stable slug of the rule that refused it.
    """

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


@dataclass(frozen=True, slots=True)
class NodeSvid:
    """A verified X.509-SVID with its key, and the bundle that came with it."""

    peer: PeerIdentity
    chain: tuple[bytes, ...]
    key: ec.EllipticCurvePrivateKey
    bundle: TrustBundle

    def __repr__(self) -> str:
        return f"NodeSvid({self.peer.id!r}, not_after={self.peer.not_after}, key=<secret>)"

    def write(self, directory: Path) -> None:
        """Write svid.pem, svid.key (mode 0600), bundle.pem and bundle.jwks.

        Raises:
            IdentityError: a file cannot be written.
        """
        peer = self.peer
        authority = peer.authorities[0] if peer.authorities else ""
        write_svid(directory, IssuedSvid(self.chain, peer.serial, peer.not_after, authority), self.key, self.bundle)


class Node:
    """A machine that gets its identity from a gateway elsewhere.

    Attributes:
        bundle: the trust bundle as last seen; None where there is none yet.
    """

    def __init__(
        self, trust_domain: str, bundle: TrustBundle | None, clock: Clock, *, web_pki: bool = False, wanted: str = ""
    ) -> None:
        """Make one.

        Args:
            trust_domain: of the gateway.
            bundle: to verify the gateway with.
            clock: the time.
            web_pki: verify the identity endpoint by its host name and the system's authorities instead.
            wanted: SPIFFE ID to ask for, if there may be several.
        """
        self._domain = TrustDomain(trust_domain)
        self.bundle = bundle
        self._clock = clock
        self._web_pki = web_pki
        self._wanted = wanted

    async def attest(self, server: str, proof: Proof) -> NodeSvid:
        """Attest at the identity endpoint.

        Args:
            server: its address, for instance `https://gateway.example.org:8445`.
            proof: what is shown.

        Raises:
            RefusedError: the gateway gives no SVID.
            IdentityError: the gateway cannot be reached or is not the one meant, or the answer cannot be trusted.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        request = make_request(key, self._wanted)
        url = f"{server.rstrip('/')}/v1/attest/{proof.method}"
        tls, inspect = (tls_context(None), None) if self._web_pki else self._spiffe_tls()
        answer = await _post(url, {"payload": await proof.payload(), "csr": request_pem(request)}, tls, inspect)
        if "challenge_id" in answer:
            challenge = answer.get("challenge")
            binding = sha256(request.public_bytes(Encoding.DER)).hexdigest()
            reply = await proof.answer(challenge if isinstance(challenge, dict) else {}, binding)
            answer = await _post(url, {"challenge_id": answer["challenge_id"], "answer": reply}, tls, inspect)
        return self._accept(answer, key, self._wanted, url)

    async def renew(self, control: str, directory: Path) -> NodeSvid:
        """Renew the SVID in `directory` on the control plane.

        Args:
            control: address of the control plane, for instance `https://gateway.example.org:8444`.
            directory: with svid.pem and svid.key.

        Raises:
            RefusedError: the gateway does not renew it.
            IdentityError: as for `attest`.
        """
        held = self.held(directory)
        key = ec.generate_private_key(ec.SECP256R1())
        tls, inspect = self._spiffe_tls()
        try:
            tls.load_cert_chain(directory / "svid.pem", directory / "svid.key")
        except (OSError, ssl.SSLError) as error:
            raise SvidError("svid-files", f"the SVID in {directory} cannot be used: {error}; attest again") from error
        url = f"{control.rstrip('/')}/v1/svid"
        answer = await _post(url, {"csr": request_pem(make_request(key, held.id))}, tls, inspect)
        return self._accept(answer, key, held.id, url)

    def held(self, directory: Path) -> PeerIdentity:
        """Return whose SVID lies in `directory`; it is in date, and verified by the bundle.

        Raises:
            IdentityError: there is none, or it is of no use any more.
        """
        path = directory / "svid.pem"
        try:
            chain = [ssl.PEM_cert_to_DER_cert(each) for each in _certificates(path.read_text("ascii"))]
        except (OSError, ValueError) as error:
            raise SvidError("svid-files", f"{path} cannot be read: {error}") from error
        peer = verify_peer(chain, self._bundles(), self._now())
        if self._wanted and peer.id != self._wanted:
            raise SvidError("unexpected-id", f"{path} is of {peer.id}, wanted was {self._wanted}")
        return peer

    def _accept(self, answer: Mapping[str, Any], key: ec.EllipticCurvePrivateKey, wanted: str, url: str) -> NodeSvid:
        try:
            bundle = parse_jwks(self._domain.name, json.dumps(answer["bundle"]).encode())
            chain = tuple(ssl.PEM_cert_to_DER_cert(each) for each in _certificates(answer["chain"]))
            peer = verify_peer(chain, {bundle.trust_domain: bundle}, self._now())
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FetchError(f"{url} answered with no SVID: {type(error).__name__}: {error}") from error
        if _public(x509.load_der_x509_certificate(chain[0]).public_key()) != _public(key.public_key()):
            raise SvidError("unexpected-key", f"{url} sent a certificate for another key; it is not taken")
        if wanted and peer.id != wanted:
            raise SvidError("unexpected-id", f"{url} sent an SVID of {peer.id}, wanted was {wanted}; it is not taken")
        self.bundle = bundle
        return NodeSvid(peer, chain, key, bundle)

    def _spiffe_tls(self) -> tuple[ssl.SSLContext, Inspect]:
        return spiffe_tls(SpiffeId(self._domain, GATEWAY_PATH), self._bundles(), self._now())

    def _bundles(self) -> dict[str, TrustBundle]:
        if self.bundle is None:
            raise BundleError(f"there is no trust bundle of {self._domain} to verify with")
        return {self._domain.name: self.bundle}

    def _now(self) -> int:
        return self._clock() // NANOSECONDS


async def _post(url: str, document: Mapping[str, Any], tls: ssl.SSLContext, inspect: Inspect | None) -> dict[str, Any]:
    body = await fetch(
        url,
        tls,
        method="POST",
        headers={"content-type": "application/json"},
        content=json.dumps(document).encode(),
        statuses=_ANSWERS,
        timeout_seconds=TIMEOUT_SECONDS,
        inspect=inspect,
    )
    try:
        answer = parse_object(body)
    except ValueError as error:
        raise FetchError(f"{url} did not answer as a gateway does: {error}") from error
    if "chain" not in answer and "challenge_id" not in answer:
        detail = f"{answer.get('detail') or answer.get('title') or 'without a reason'}"[:1000]
        remedy = f"{answer.get('remedy') or ''}"[:1000]
        raise RefusedError(f"{answer.get('code') or 'unknown'}"[:100], f"{url} refuses: {detail} {remedy}".strip())
    return answer


def _certificates(pem: str) -> Sequence[str]:
    end = "-----END CERTIFICATE-----"
    return [part.strip() + "\n" + end for part in pem.split(end)[:-1]]


def _public(key: Any) -> bytes:
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded
