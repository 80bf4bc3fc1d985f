"""The identity of a gateway whose trust domain is SPIRE's: everything comes from its Workload API, nothing is issued.

If the agent goes away, the gateway serves on with what it has, says so, and says for how long.
"""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog

from audit.errors import AuditUnavailableError
from audit.log import AuditLog
from gateway.clock import Clock, system_clock
from gateway.config import GatewayConfig
from gateway.errors import ConfigError
from gateway.gateway_identity import GatewayIdentity, OwnSvid, Step
from gateway.telemetry import metrics
from identity.bundle import TrustBundle
from identity.spire import SpireMaterial, SpireSource

_log = structlog.get_logger("govgateway.identity")


class SpireIdentity(GatewayIdentity):
    """Takes SVID, bundles and rotations from a Workload API socket."""

    def __init__(self, config: GatewayConfig, audit: AuditLog, clock: Clock = system_clock) -> None:
        """Open the inventory and wait for the first SVID.

        Raises:
            ConfigError: the SVID is of another trust domain than the configuration names.
            SpireError: none came.
        """
        super().__init__(config, audit, clock)
        spire = config.identity.spire
        self._source = SpireSource(f"unix://{spire.socket}", clock, spire.spiffe_id)
        try:
            self._adopt(self._source.open())
        except BaseException:
            self._source.close()
            self.registry.close()
            raise
        self._away = ""

    async def start(self, endpoint: socket.socket | None) -> None:
        """See `GatewayIdentity.start`. Nothing is served: SPIRE does that."""

    async def take(self, config: GatewayConfig, bundles: Mapping[str, TrustBundle]) -> None:  # noqa: ARG002 - see there
        """See `GatewayIdentity.take`. The bundles are SPIRE's."""
        self._config = config

    def steps(self) -> Sequence[Step]:
        """See `GatewayIdentity.steps`."""
        return (self._look_at_spire,)

    def status(self) -> dict[str, Any]:
        """Return where the identity comes from, and for how long it is good without the agent."""
        return {
            "source": "spire",
            "id": str(self.gateway_id),
            "socket": str(self._config.identity.spire.socket),
            "away": self._source.away,
            "seconds_left": self._source.seconds_left(),
        }

    async def close(self) -> None:
        """End the streams and close the inventory."""
        await asyncio.to_thread(self._source.close)
        await super().close()

    async def _look_at_spire(self) -> None:
        self._adopt(await asyncio.to_thread(self._source.look))
        away = self._source.away
        metrics.SPIRE_AWAY.set(1 if away else 0)
        if away and not self._away:
            _log.warning("spire-away", detail=away, seconds_left=self._source.seconds_left())
        elif self._away and not away:
            _log.info("spire-back")
        self._away = away

    def _adopt(self, material: SpireMaterial) -> None:
        if material.spiffe_id.trust_domain.name != self._config.trust_domain:
            raise ConfigError(
                f"SPIRE calls this gateway {material.spiffe_id}, and trust_domain is {self._config.trust_domain}; "
                "set trust_domain to SPIRE's"
            )
        known = getattr(self, "svid", None)
        if known is not None and known.serial == material.serial and self.bundles == material.bundles:
            return
        if known is not None:
            _log.info("identity-rotated", serial=material.serial, not_after=material.not_after)
            self._record_changes(self.bundles, material.bundles)
        self.gateway_id = material.spiffe_id
        self.svid = OwnSvid(material.chain_pem, material.key_pem, material.serial, material.not_after)
        self.bundles = material.bundles
        self._tls_changed = True

    def _record_changes(self, before: Mapping[str, TrustBundle], now: Mapping[str, TrustBundle]) -> None:
        for trust_domain in sorted({*before, *now}):
            bundle = now.get(trust_domain)
            if bundle == before.get(trust_domain):
                continue
            sequence = bundle.sequence if bundle is not None else -1
            fields = {"trust_domain": trust_domain, "withdrawn": bundle is None, "sequence": sequence}
            with suppress(AuditUnavailableError):
                self._audit.append("federation.changed", {"principal": str(self.gateway_id), **fields})
