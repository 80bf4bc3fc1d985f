"""One generation of everything that a reload replaces, built and checked as a whole before it is used."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.authorization.engine import PolicyEngine, PolicySet
from gateway.config.model import GatewayConfig, ModelConfig
from gateway.protocols.base import WireProtocol
from gateway.quota.limits import LimitTable
from gateway.upstream.balancer import Balancer
from gateway.upstream.registry import BackendRegistry


@dataclass(frozen=True, slots=True)
class Runtime:
    """Configuration, policies, limits and backends of one generation. Immutable: calls under way keep theirs."""

    config: GatewayConfig
    policies: PolicySet
    engine: PolicyEngine
    limits: LimitTable
    backends: BackendRegistry
    balancer: Balancer
    models: Mapping[str, ModelConfig]
    regions: Mapping[str, str]
    credentials: Mapping[str, list[dict[str, str]]]
    protocols: tuple[WireProtocol, ...]

    @property
    def default_protocol(self) -> WireProtocol:
        """The protocol whose error shape answers a route that belongs to none."""
        return self.protocols[0]

    def protocol(self, method: str, path: str) -> WireProtocol | None:
        """Return the protocol that the route belongs to."""
        for protocol in self.protocols:
            if protocol.match(method, path):
                return protocol
        return None


def model_regions(config: GatewayConfig) -> dict[str, str]:
    """Return the region of each model: that of its backends if they agree, else empty (the policy routes)."""
    region_of: dict[str, str] = {backend.name: backend.region for backend in config.backends}
    regions = {}
    for model in config.models:
        found = {region_of[name] for name in model.backends}
        regions[model.name] = found.pop() if len(found) == 1 else ""
    return regions


def model_credentials(config: GatewayConfig) -> dict[str, list[dict[str, str]]]:
    """Return what the policies are told of the credentials that a model's backends are shown, by model."""
    secret_of = {backend.name: backend.credential or backend.client_certificate for backend in config.backends}
    found = {
        model.name: [{"backend": name, "secret": secret_of[name]} for name in model.backends if secret_of[name]]
        for model in config.models
    }
    return {name: credentials for name, credentials in found.items() if credentials}


RuntimeBuilder = Callable[[GatewayConfig], Runtime]
"""Builds a generation from a configuration; raises ConfigError and changes nothing when it cannot."""
