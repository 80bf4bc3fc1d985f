"""What the Workload API serves, and who is told about it: the seams of this package."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from identity.bundle import TrustBundle
from identity.errors import IdentityError
from identity.jwt_svid import JwtIdentity

Selectors = frozenset[str]


class NoIdentityError(IdentityError):
    """No registration entry grants a workload anything."""


@dataclass(frozen=True, slots=True)
class X509Svid:
    """An X.509-SVID with its key, as a workload gets it.

    Attributes:
        spiffe_id: its SPIFFE ID.
        chain: DER, leaf first, without the root.
        key: PKCS #8 DER.
        hint: tells several SVIDs of one workload apart.
        not_after: UNIX seconds.
    """

    spiffe_id: str
    chain: tuple[bytes, ...]
    key: bytes
    hint: str
    not_after: int

    def __repr__(self) -> str:
        return f"X509Svid({self.spiffe_id!r}, not_after={self.not_after}, key=<secret>)"


@dataclass(frozen=True, slots=True)
class X509Context:
    """All X.509 material of a workload.

    Attributes:
        svids: at least one.
        own: bundle of the own trust domain.
        federated: bundles of others, by trust domain.
    """

    svids: tuple[X509Svid, ...]
    own: TrustBundle
    federated: Mapping[str, TrustBundle]


@dataclass(frozen=True, slots=True)
class JwtSvid:
    """A JWT-SVID as a workload gets it."""

    spiffe_id: str
    token: str
    hint: str

    def __repr__(self) -> str:
        return f"JwtSvid({self.spiffe_id!r}, token=<secret>)"


class WorkloadSource(Protocol):
    """Grants identities by selectors. Errors: `NoIdentityError`; any other `IdentityError` means: not now."""

    @property
    def ready(self) -> bool:
        """Whether it can answer at all."""

    async def x509_context(self, selectors: Selectors) -> X509Context:
        """Return what a workload may hold now."""

    def bundles(self, selectors: Selectors) -> Mapping[str, TrustBundle]:
        """Return the bundles a workload may see, by trust domain, the own among them."""

    async def jwt_svids(
        self, selectors: Selectors, audience: Sequence[str], spiffe_id: str | None
    ) -> Sequence[JwtSvid]:
        """Return a JWT-SVID for each identity of the workload, or for the one asked for."""

    def validate_jwt_svid(self, selectors: Selectors, audience: str, token: str) -> JwtIdentity:
        """Verify a token shown to the workload; raises `SvidError`."""

    def version(self, selectors: Selectors) -> int:
        """Return a number that changes whenever what these selectors may see changes."""

    async def changed(self, selectors: Selectors, version: int) -> int:
        """Wait until the version is another, and return it."""


class WorkloadObserver(Protocol):
    """Is told what the Workload API does."""

    def attested(self, uid: int, pid: int, selectors: Selectors) -> None:
        """A process was recognised."""

    def refused(self, rule: str, detail: str) -> None:
        """A connection or a request was refused."""

    def served(self, method: str, spiffe_ids: Sequence[str]) -> None:
        """An answer was sent."""
