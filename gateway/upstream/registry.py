"""The static registry: which backends serve a model. No request adds to it."""

from collections.abc import Mapping

from gateway.config.model import BackendConfig, GatewayConfig
from gateway.errors import UpstreamConnectError
from gateway.upstream.client import Backend
from gateway.upstream.injection import Injection


class BackendRegistry:
    """Backends by model, made from the configuration. Immutable."""

    def __init__(self, routes: Mapping[str, tuple[Backend, ...]]) -> None:
        self._routes = routes

    @classmethod
    def from_config(cls, config: GatewayConfig) -> "BackendRegistry":
        """Build the registry."""
        backends = {backend.name: _backend(backend) for backend in config.backends}
        return cls(
            {model.name: tuple(backends[name] for name in dict.fromkeys(model.backends)) for model in config.models}
        )

    def route(self, model: str, region: str | None) -> tuple[Backend, ...]:
        """Return the backends that may serve a call.

        Args:
            model: name of a model of the configuration.
            region: region that the policy requires, or None for any.

        Raises:
            UpstreamConnectError: none is in that region.
            KeyError: the configuration has no such model.
        """
        backends = self._routes[model]
        if region is not None:
            backends = tuple(backend for backend in backends if backend.region == region)
        if not backends:
            raise UpstreamConnectError(
                f"No backend of {model} is in the region {region} that the policy requires.",
                remedy="Tell the operator.",
                code="no_backend_in_region",
            )
        return backends


def _injection(config: BackendConfig) -> Injection:
    chosen = config.injection
    return Injection(chosen.kind, chosen.header.lower(), chosen.user, chosen.region, chosen.service)


def _backend(config: BackendConfig) -> Backend:
    return Backend(
        name=config.name,
        base_url=str(config.url).rstrip("/"),
        region=config.region,
        continuous_usage=config.continuous_usage,
        credential=config.credential,
        injection=_injection(config),
        client_certificate=config.client_certificate,
        per_agent=config.per_agent,
        forward_authorization=config.unsafe_forward_authorization,
        ca_file=str(config.ca_file or ""),
        client_cert_file=str(config.client_cert_file or ""),
        client_key_file=str(config.client_key_file or ""),
        connect_timeout=config.connect_timeout_seconds,
        first_byte_timeout=config.first_byte_timeout_seconds,
        idle_timeout=config.idle_timeout_seconds,
    )
