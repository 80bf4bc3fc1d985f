"""A source for the Workload API that a test fills by hand. It stands in for `identity.issuer`."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from identity.bundle import TrustBundle
from identity.errors import IdentityError
from identity.jwt_svid import JwtIdentity, verify_jwt_svid
from identity.workload_api.source import JwtSvid, NoIdentityError, Selectors, X509Context, X509Svid
from tests.support.certificates import CertificateAuthority

DOMAIN = "workloads.test"


def svid_of(authority: CertificateAuthority, spiffe_id: str, hint: str = "", seconds: int = 600) -> X509Svid:
    """Issue an X.509-SVID in the form that the source hands out."""
    now = int(time.time())
    leaf = authority.issue(spiffe_id, not_before=now - 10, not_after=now + seconds)
    key = leaf.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return X509Svid(spiffe_id, tuple(leaf.chain), key, hint, now + seconds)


@dataclass
class HandFilledSource:
    """Grants everybody the same. `publish` tells all streams that something changed."""

    authority: CertificateAuthority
    svids: list[X509Svid]
    own: TrustBundle
    federated: dict[str, TrustBundle] = field(default_factory=dict)
    tokens: list[JwtSvid] = field(default_factory=list)
    ready: bool = True
    failure: IdentityError | None = None
    seen: list[Selectors] = field(default_factory=list)
    number: int = 1

    def __post_init__(self) -> None:
        self._event = asyncio.Event()

    def publish(self) -> None:
        """Wake all streams."""
        self.number += 1
        self._event.set()
        self._event = asyncio.Event()

    def _check(self, selectors: Selectors) -> None:
        self.seen.append(selectors)
        if self.failure is not None:
            raise self.failure
        if not self.svids:
            raise NoIdentityError("no registration entry matches")

    async def x509_context(self, selectors: Selectors) -> X509Context:
        self._check(selectors)
        return X509Context(tuple(self.svids), self.own, self.federated)

    def bundles(self, selectors: Selectors) -> Mapping[str, TrustBundle]:
        self._check(selectors)
        return {self.own.trust_domain: self.own, **self.federated}

    async def jwt_svids(
        self, selectors: Selectors, audience: Sequence[str], spiffe_id: str | None
    ) -> Sequence[JwtSvid]:
        self._check(selectors)
        found = [token for token in self.tokens if spiffe_id in {None, token.spiffe_id}]
        if not found:
            raise NoIdentityError("not granted")
        return found

    def validate_jwt_svid(self, selectors: Selectors, audience: str, token: str) -> JwtIdentity:
        return verify_jwt_svid(token, self.bundles(selectors), audience, int(time.time()))

    def version(self, selectors: Selectors) -> int:
        return self.number

    async def changed(self, selectors: Selectors, version: int) -> int:
        while self.number == version:
            await self._event.wait()
        return self.number


@dataclass
class Noted:
    """An observer that remembers."""

    attestations: list[tuple[int, int, Selectors]] = field(default_factory=list)
    refusals: list[tuple[str, str]] = field(default_factory=list)
    answers: list[tuple[str, list[str]]] = field(default_factory=list)

    def attested(self, uid: int, pid: int, selectors: Selectors) -> None:
        self.attestations.append((uid, pid, selectors))

    def refused(self, rule: str, detail: str) -> None:
        self.refusals.append((rule, detail))

    def served(self, method: str, spiffe_ids: Sequence[str]) -> None:
        self.answers.append((method, list(spiffe_ids)))
