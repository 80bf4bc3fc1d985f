"""Keeps the bundles of all federated trust domains current: tells when to fetch, keeps on disk, says what changed."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from identity.bundle import TrustBundle
from identity.clock import NANOSECONDS, Clock
from identity.errors import BundleError, SealError
from identity.federation import (
    MAX_REFRESH_SECONDS,
    BundleEndpoint,
    Failed,
    FederatedDomain,
    FederationStatus,
    FetchResult,
    first_state,
    trusted_bundles,
)
from identity.federation_fetching import fetch_bundle
from identity.federation_store import FederationStore

FetchBundle = Callable[[BundleEndpoint, Mapping[str, TrustBundle], int], Awaitable[FetchResult]]
"""Fetches a bundle: endpoint, last known bundles, UNIX seconds."""

LONGEST_SLEEP_SECONDS = 60.0
"""After which the clock is looked at again; it may have been set."""


class FederationManager:
    """The federated domains of one gateway. Belongs to one event loop."""

    def __init__(
        self,
        endpoints: Sequence[BundleEndpoint],
        store: FederationStore,
        on_change: Callable[[str, TrustBundle | None], None],
        clock: Clock,
        *,
        fetch: FetchBundle = fetch_bundle,
        spread: Callable[[], float] = random.random,
    ) -> None:
        """Make one, with what was kept; nothing is fetched yet.

        Args:
            endpoints: one for each domain.
            store: keeps the last good bundles.
            on_change: told the domain and its bundle, None if it has withdrawn; must not raise.
            clock: the time.
            fetch: fetches one bundle.
            spread: draws from 0 to 1, for jitter.

        Raises:
            BundleError: a domain is there twice, or what was kept cannot be used.
        """
        self._endpoints = {endpoint.trust_domain: endpoint for endpoint in endpoints}
        if len(self._endpoints) < len(endpoints):
            raise BundleError("a trust domain is federated with twice; name one endpoint for each")
        self._store = store
        self._on_change = on_change
        self._clock = clock
        self._fetch = fetch
        self._spread = spread
        self._unsaved: dict[str, str] = {}
        self._domains = {name: first_state(each, store.read(name)) for name, each in self._endpoints.items()}
        self._locks = {name: asyncio.Lock() for name in self._endpoints}

    def bundles(self) -> Mapping[str, TrustBundle]:
        """Return the bundles to verify with, by trust domain; those that have withdrawn are not among them."""
        return trusted_bundles(self._domains)

    def status(self) -> tuple[FederationStatus, ...]:
        """Return each domain, by name, with age, sequence, last error and next attempt."""
        now = self._now()
        return tuple(self._status(self._domains[name], now) for name in sorted(self._domains))

    async def refresh(self, trust_domain: str) -> FederationStatus:
        """Fetch a domain's bundle now.

        Raises:
            BundleError: it is not federated with.
        """
        if trust_domain not in self._endpoints:
            raise BundleError(f"{trust_domain} is not federated with; configured: {', '.join(sorted(self._endpoints))}")
        async with self._locks[trust_domain]:
            await self._attempt(self._endpoints[trust_domain])
        return self._status(self._domains[trust_domain], self._now())

    async def run(self) -> None:
        """Keep all domains current until cancelled."""
        async with asyncio.TaskGroup() as group:
            for endpoint in self._endpoints.values():
                group.create_task(self._tend(endpoint))

    async def _tend(self, endpoint: BundleEndpoint) -> None:
        name = endpoint.trust_domain
        while True:
            due = self._domains[name].next_refresh
            left = due - self._clock() / NANOSECONDS
            if 0 < left <= MAX_REFRESH_SECONDS:  # more means that the clock was set back
                await asyncio.sleep(min(left, LONGEST_SLEEP_SECONDS))
                continue
            async with self._locks[name]:
                if self._domains[name].next_refresh == due:
                    await self._attempt(endpoint)

    async def _attempt(self, endpoint: BundleEndpoint) -> None:
        name, before = endpoint.trust_domain, self._domains[endpoint.trust_domain]
        try:
            result = await self._fetch(endpoint, self.bundles(), self._now())
        except Exception as error:  # whatever it is, one domain's fault must not end the others
            result = Failed(f"{endpoint.url} cannot be fetched: {type(error).__name__}: {error}")
        after = before.after(result, self._now(), self._spread())
        self._domains[name] = after
        if after.trusted != before.trusted:
            self._on_change(name, after.trusted)
        if after.fetched_at != before.fetched_at or name in self._unsaved:
            await self._save(after)

    async def _save(self, domain: FederatedDomain) -> None:
        try:
            await asyncio.to_thread(self._store.write, domain)
            self._unsaved.pop(domain.trust_domain, None)
        except SealError as error:
            self._unsaved[domain.trust_domain] = f"the bundle is in force but not kept for a restart: {error}"

    def _status(self, domain: FederatedDomain, now: int) -> FederationStatus:
        unsaved, status = self._unsaved.get(domain.trust_domain), domain.status(now)
        if unsaved is None:
            return status
        return replace(status, error=f"{status.error}; {unsaved}" if status.error else unsaved)

    def _now(self) -> int:
        return self._clock() // NANOSECONDS
