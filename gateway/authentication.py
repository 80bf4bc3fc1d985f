"""Who makes a request: the connection's certificate, a JWT-SVID as bearer token, or both, on the routes that allow it.

A token never widens what the certificate says. With a certificate, the token's last link has to be that certificate's
identity, and a token bound to a certificate (`cnf.x5t#S256`, RFC 8705) to that very one. Without a certificate, a
bound token is refused. A token is read from the header `Authorization` alone, never from the URL.
"""

import re
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256

from gateway.clock import NANOSECONDS, Clock
from gateway.config.model import JwtBearer
from gateway.listener.peer import Peer
from identity.bundle import TrustBundle
from identity.delegation import chain_of
from identity.errors import SvidError
from identity.jwt_svid import JwtIdentity, verify_jwt_svid
from identity.spiffe_id import SpiffeId
from identity.verification import PeerIdentity

Headers = Sequence[tuple[bytes, bytes]]

CACHE_ENTRIES = 4096
"""Verified tokens kept per worker."""

_COMPACT = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*)")


class BearerAuthentication:
    """Decides who makes each request, where bearer tokens are configured at all."""

    def __init__(
        self,
        config: JwtBearer,
        gateway_id: str,
        bundles: Callable[[], Mapping[str, TrustBundle]],
        clock: Clock,
    ) -> None:
        """Args: gateway_id: the gateway's own SPIFFE ID. bundles: by trust domain, in force now."""
        self._config = config
        self._audience = config.audience or gateway_id
        self._domain = SpiffeId.parse(gateway_id).trust_domain.name
        self._bundles = bundles
        self._clock = clock
        self._known: OrderedDict[bytes, JwtIdentity] = OrderedDict()
        self._known_by: Mapping[str, TrustBundle] = {}

    def __call__(self, connection: Peer, path: str, headers: Headers) -> Peer:
        """Return who makes the request; a refusal names its rule. Never raises.

        Args:
            connection: who opened the connection.
            path: path of the request, as sent.
            headers: its header fields, names in lower case.
        """
        values = [value for name, value in headers if name == b"authorization"]
        found = _COMPACT.fullmatch(values[0]) if len(values) == 1 else None
        if found is None or not self._may_speak(connection):
            return connection
        if not self._allowed_on(path):
            return Peer(None, SvidError("jwt-not-accepted", "this route takes no bearer tokens, only certificates"))
        token = found.group(1)
        try:
            return self._combine(connection, self._verified(token), token)
        except SvidError as refusal:
            return Peer(None, refusal)

    def _may_speak(self, connection: Peer) -> bool:
        """A certificate that was refused is not healed by a token; a missing one may be replaced."""
        refusal = connection.refusal
        return refusal is None or refusal.rule == "no-certificate"

    def _allowed_on(self, path: str) -> bool:
        return any(
            path.startswith(route[:-1]) if route.endswith("*") else path == route for route in self._config.routes
        )

    def _verified(self, token: bytes) -> JwtIdentity:
        bundles, now = self._bundles(), self._clock() // NANOSECONDS
        if bundles is not self._known_by:
            self._known.clear()
            self._known_by = bundles
        digest = sha256(token).digest()
        known = self._known.get(digest)
        if known is None or now >= known.not_after:
            known = verify_jwt_svid(
                token.decode("ascii"), bundles, self._audience, now, leeway=self._config.leeway_seconds
            )
            self._check_lifetime(known)
            self._known[digest] = known
            if len(self._known) > CACHE_ENTRIES:
                self._known.popitem(last=False)
        return known

    def _check_lifetime(self, token: JwtIdentity) -> None:
        longest = self._config.max_lifetime_seconds
        if not token.issued_at:
            raise SvidError("jwt-lifetime", "the token does not say when it was issued (iat), so its life is unknown")
        if token.not_after - token.issued_at > longest:
            raise SvidError("jwt-lifetime", f"the token lives longer than the {longest} seconds allowed here")
        if self._config.once and not token.jti:
            raise SvidError("jwt-id-missing", "tokens may be shown once here, and this one has no id (jti)")

    def _combine(self, connection: Peer, token: JwtIdentity, raw: bytes) -> Peer:
        chain = chain_of(token.id, token.claims, self._domain)
        certificate = connection.identity
        self._check_binding(token, certificate)
        if certificate is not None:
            if chain[-1] != certificate.id:
                raise SvidError(
                    "jwt-of-another", f"the token is for {chain[-1]} to use, the certificate is of {certificate.id}"
                )
            return replace(
                connection,
                identity=replace(certificate, not_after=min(certificate.not_after, token.not_after)),
                delegation=chain[:-1],
                token=token,
            )
        acting = PeerIdentity(
            id=chain[-1],
            trust_domain=chain[-1][len("spiffe://") :].partition("/")[0],
            path="/" + chain[-1][len("spiffe://") :].partition("/")[2],
            serial=token.jti,
            fingerprint=sha256(raw).hexdigest(),
            not_before=token.issued_at,
            not_after=token.not_after,
            authorities=(token.key_id,),
        )
        return Peer(acting, None, chain[:-1], token)

    def _check_binding(self, token: JwtIdentity, certificate: PeerIdentity | None) -> None:
        confirmation = token.claims.get("cnf")
        if confirmation is None:
            return
        if not isinstance(confirmation, Mapping) or set(confirmation) != {"x5t#S256"}:
            raise SvidError("jwt-binding", "the token is bound (cnf) in a way that is not known here")
        if certificate is None:
            raise SvidError("jwt-binding", "the token is bound to a certificate, and none was presented")
        if confirmation["x5t#S256"] != thumbprint(certificate):
            raise SvidError("jwt-binding", "the token is bound to another certificate than the one presented")


def thumbprint(identity: PeerIdentity) -> str:
    """Return the `x5t#S256` of a peer's certificate (RFC 8705, section 3.1)."""
    return urlsafe_b64encode(bytes.fromhex(identity.fingerprint)).rstrip(b"=").decode()
