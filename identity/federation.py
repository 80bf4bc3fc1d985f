"""What becomes of another trust domain's bundle with each attempt to fetch it: a state machine without input or output.

Rules: SPIFFE Federation, sections 4 and 5; SPIFFE Trust Domain and Bundle, section 4.

1. The last good bundle is kept, with its age, whatever fails.
2. A sequence that goes backwards is refused: an old bundle would bring back authorities that were removed.
3. A bundle without keys withdraws the domain at once, whatever its sequence says, and no older bundle restores it.
4. The next attempt follows the bundle's refresh hint, within bounds; after a failure it comes sooner and then ever
   later, with jitter, up to the time that the hint gives.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from identity.bundle import TrustBundle
from identity.errors import BundleError, SpiffeIdError
from identity.fetching import FetchError, https_url
from identity.spiffe_id import SpiffeId, TrustDomain

Profile = Literal["https_web", "https_spiffe"]

MIN_REFRESH_SECONDS = 30
MAX_REFRESH_SECONDS = 24 * 3600
"""Bounds of what a bundle's refresh hint may ask for."""

FIRST_RETRY_SECONDS = 5
"""After the first failure; doubled with each further one."""


@dataclass(frozen=True, slots=True)
class BundleEndpoint:
    """Where the bundle of another trust domain is fetched.

    Attributes:
        trust_domain: whose bundle it is.
        url: https address of the bundle.
        profile: how its server proves itself: `https_web` by a host name, `https_spiffe` by a SPIFFE ID.
        ca_file: with `https_web`, PEM file of the authorities of the server; None for the system's.
        server_id: with `https_spiffe`, SPIFFE ID of the server.
        bootstrap: the bundle to begin with; with `https_spiffe` and a server of that domain, there must be one.

    Raises:
        BundleError: the parts do not fit each other.
    """

    trust_domain: str
    url: str
    profile: Profile = "https_web"
    ca_file: Path | None = None
    server_id: str = ""
    bootstrap: TrustBundle | None = None

    def __post_init__(self) -> None:
        try:
            TrustDomain(self.trust_domain)
            https_url(self.url)
            server = SpiffeId.parse(self.server_id) if self.server_id else None
        except (SpiffeIdError, FetchError) as error:
            raise BundleError(f"federation with {self.trust_domain!r}: {error}") from error
        if self.profile == "https_spiffe" and (server is None or not server.path):
            raise BundleError(f"federation with {self.trust_domain}: https_spiffe needs the SPIFFE ID of the server")
        if self.profile == "https_spiffe" and self.ca_file is not None:
            raise BundleError(f"federation with {self.trust_domain}: https_spiffe verifies by bundle, not by a CA file")
        if self.profile == "https_web" and server is not None:
            raise BundleError(f"federation with {self.trust_domain}: https_web verifies a host name, not a SPIFFE ID")
        if self.bootstrap is not None and self.bootstrap.trust_domain != self.trust_domain:
            raise BundleError(f"federation with {self.trust_domain}: the first bundle is of another domain")


@dataclass(frozen=True, slots=True)
class Fetched:
    """A bundle document was received from the authenticated server."""

    bundle: TrustBundle


@dataclass(frozen=True, slots=True)
class Failed:
    """No bundle was received, and why."""

    reason: str


FetchResult = Fetched | Failed


@dataclass(frozen=True, slots=True)
class FederationStatus:
    """One federated domain, for people. Times are UNIX seconds.

    Attributes:
        state: `fresh`, `stale` (the last attempt failed), `withdrawn`, or `unknown` (never had a bundle).
        age_seconds: since the bundle was last confirmed; None if it never was.
        error: why the last attempt failed; empty if it did not.
    """

    trust_domain: str
    state: Literal["fresh", "stale", "withdrawn", "unknown"]
    sequence: int
    authorities: int
    jwt_keys: int
    age_seconds: int | None
    failures: int
    error: str
    next_refresh: int


@dataclass(frozen=True, slots=True)
class FederatedDomain:
    """What is known of another trust domain. Times are UNIX seconds.

    Attributes:
        trust_domain: its name.
        bundle: the last good one; None if there never was one. Without keys: the domain has withdrawn.
        fetched_at: when the bundle was last received; 0 for one that was not (given by hand, or none).
        failures: attempts that failed since.
        error: why the last one did.
        next_refresh: when to try again.
    """

    trust_domain: str
    bundle: TrustBundle | None = None
    fetched_at: int = 0
    failures: int = 0
    error: str = ""
    next_refresh: int = 0

    @property
    def trusted(self) -> TrustBundle | None:
        """The bundle to verify with; None if there is none, or the domain has withdrawn."""
        return None if self.bundle is None or is_empty(self.bundle) else self.bundle

    def after(self, result: FetchResult, now: int, spread: float = 0.0) -> "FederatedDomain":
        """Return the state after an attempt.

        Args:
            result: of the attempt.
            now: UNIX seconds.
            spread: from 0 to 1, drawn anew each time; brings the next attempt forward by up to a fifth.
        """
        if isinstance(result, Failed):
            return self._failed(result.reason, now, spread)
        bundle = result.bundle
        if bundle.trust_domain != self.trust_domain:
            return self._failed(f"the bundle is of {bundle.trust_domain}", now, spread)
        held = self.bundle
        if held is not None and is_empty(bundle):
            bundle = replace(bundle, sequence=max(bundle.sequence, held.sequence))
        if held is not None and bundle.sequence < held.sequence:
            reason = (
                f"the sequence went backwards, from {held.sequence} to {bundle.sequence}; the bundle at hand is kept. "
                "If the other domain was rebuilt, remove what is kept of it and start anew with its new bundle"
            )
            return self._failed(reason, now, spread)
        if held is not None and is_empty(held) and not is_empty(bundle) and bundle.sequence == held.sequence:
            reason = f"the domain has withdrawn, and its bundle came back with the same sequence {bundle.sequence}"
            return self._failed(reason, now, spread)
        delay = _earlier(_bounded(bundle.refresh_hint), spread)
        return replace(self, bundle=bundle, fetched_at=now, failures=0, error="", next_refresh=now + delay)

    def status(self, now: int) -> FederationStatus:
        """Return what is shown of it."""
        bundle = self.bundle
        if bundle is None:
            state: Literal["fresh", "stale", "withdrawn", "unknown"] = "unknown"
        elif is_empty(bundle):
            state = "withdrawn"
        else:
            state = "stale" if self.error or not self.fetched_at else "fresh"
        return FederationStatus(
            self.trust_domain,
            state,
            0 if bundle is None else bundle.sequence,
            0 if bundle is None else len(bundle.authorities),
            0 if bundle is None else len(bundle.jwt_keys),
            max(0, now - self.fetched_at) if self.fetched_at else None,
            self.failures,
            self.error,
            self.next_refresh,
        )

    def _failed(self, reason: str, now: int, spread: float) -> "FederatedDomain":
        longest = _bounded(self.bundle.refresh_hint) if self.bundle is not None else 10 * MIN_REFRESH_SECONDS
        delay = min(FIRST_RETRY_SECONDS << min(self.failures, 20), longest)
        return replace(
            self, failures=self.failures + 1, error=reason, next_refresh=now + max(1, _earlier(delay, spread))
        )


def is_empty(bundle: TrustBundle) -> bool:
    """Whether a bundle has no key of any use, which says: trust nothing of this domain."""
    return not bundle.authorities and not bundle.jwt_keys


def first_state(endpoint: BundleEndpoint, kept: FederatedDomain | None) -> FederatedDomain:
    """Return the state to begin with: what was kept, or the bundle given by hand if that is newer.

    A bundle given by hand is how a person brings back a domain that withdrew; it needs a higher sequence.
    """
    by_hand = endpoint.bootstrap
    if kept is None or kept.bundle is None:
        return FederatedDomain(endpoint.trust_domain, by_hand)
    if by_hand is not None and by_hand.sequence > kept.bundle.sequence:
        return FederatedDomain(endpoint.trust_domain, by_hand)
    return kept


def trusted_bundles(domains: Mapping[str, FederatedDomain]) -> dict[str, TrustBundle]:
    """Return the bundles to verify with, by trust domain."""
    return {name: bundle for name, domain in domains.items() if (bundle := domain.trusted) is not None}


def _bounded(hint: int) -> int:
    return min(max(hint, MIN_REFRESH_SECONDS), MAX_REFRESH_SECONDS)


def _earlier(delay: int, spread: float) -> int:
    return delay - int(delay * 0.2 * min(max(spread, 0.0), 1.0))
