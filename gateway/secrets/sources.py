"""What the keeper fetches from: Vault, in threads of its own, and the exchanges."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from gateway.clock import NANOSECONDS, Clock
from gateway.config.model import GatewayConfig
from gateway.secrets.fetched import Fetched, SecretSourceError
from gateway.secrets.vault.client import VaultClient
from gateway.secrets.vault.login import Proof
from gateway.secrets.vault.places import parse_place

THREADS = 4
"""Most questions to Vault at the same time."""

EXCHANGE_REFRESH_SECONDS = 300.0

_T = TypeVar("_T")

Svid = Callable[[str], Awaitable[str]]
"""Returns a JWT-SVID of the gateway for an audience."""


class FetchedSources:
    """Vault and the exchanges of one configuration (`gateway.secrets.keeper.Source`).

    Args:
        config: the configuration.
        proof: what a login to Vault shows; used in threads.
        svid: what an exchange is shown.
        clock: UNIX nanoseconds.
    """

    def __init__(self, config: GatewayConfig, proof: Proof, svid: Svid, clock: Clock) -> None:
        self._config = config
        self._svid = svid
        self._clock = clock
        settings = config.secrets.vault
        self.vault = VaultClient(settings, proof, now=lambda: clock() / NANOSECONDS) if settings.addresses else None
        self._threads = ThreadPoolExecutor(THREADS, "vault")

    @property
    def logins(self) -> int:
        """See `Source.logins`."""
        return self.vault.logins if self.vault is not None else 0

    async def fetch(self, unit: str) -> Fetched:
        """See `Source.fetch`."""
        if unit.startswith("exchange:"):
            name = unit.removeprefix("exchange://")
            settings = next((each for each in self._config.secrets.exchanges if each.name == name), None)
            if settings is None:
                raise SecretSourceError(f"{unit} is not configured", "secret_missing")
            from gateway.secrets.exchanging import audience_of, exchange  # noqa: PLC0415 - httpx is loaded only where it is used

            return await exchange(settings, await self._svid(audience_of(settings)), self._clock)
        vault = self._vault()
        try:
            place = parse_place(unit, self._config.secrets.vault.mounts)
        except ValueError as error:
            raise SecretSourceError(str(error), "secret_missing") from error
        return await self._in_thread(lambda: vault.read(place))

    async def renew(self, lease_id: str) -> float:
        """See `Source.renew`."""
        vault = self._vault()
        return await self._in_thread(lambda: vault.renew(lease_id))

    async def revoke(self, lease_id: str) -> None:
        """See `Source.revoke`."""
        vault = self._vault()
        await self._in_thread(lambda: vault.revoke(lease_id))

    async def tend(self) -> None:
        """See `Source.tend`."""
        if self.vault is not None and self.vault.logins:
            await self._in_thread(self.vault.tend)

    def bounds(self, unit: str) -> tuple[float, float]:
        """See `Source.bounds`."""
        if unit.startswith("exchange:"):
            return EXCHANGE_REFRESH_SECONDS, 0.0
        settings = self._config.secrets.vault
        return settings.refresh_seconds, settings.stale_seconds

    async def close(self) -> None:
        """Give the login back."""
        if self.vault is not None:
            await self._in_thread(self.vault.close)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _vault(self) -> VaultClient:
        if self.vault is None:
            raise SecretSourceError("secrets.vault.addresses is empty", "secret_missing")
        return self.vault

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
