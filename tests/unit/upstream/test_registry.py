"""Which backends may serve a model."""

from typing import Any

import pytest

from gateway.config.model import GatewayConfig
from gateway.errors import UpstreamConnectError
from gateway.upstream.registry import BackendRegistry

URL = "http://127.0.0.1:8000/v1"


def registry(backends: list[dict[str, Any]], *names: str) -> BackendRegistry:
    document = {"trust_domain": "example.org", "backends": backends, "models": [{"name": "m", "backends": list(names)}]}
    return BackendRegistry.from_config(GatewayConfig.model_validate(document))


EUROPE = {"name": "internal-eu", "url": URL, "region": "eu"}
AMERICA = {"name": "internal-us", "url": "http://127.0.0.1:8001/v1", "region": "us"}


def test_a_model_is_served_by_the_backends_it_names_in_their_order() -> None:
    routes = registry([EUROPE, AMERICA], "internal-us", "internal-eu")
    assert [backend.name for backend in routes.route("m", None)] == ["internal-us", "internal-eu"]


def test_a_backend_named_twice_is_one_backend() -> None:
    assert len(registry([EUROPE, AMERICA], "internal-eu", "internal-eu").route("m", None)) == 1


def test_a_required_region_leaves_only_its_backends() -> None:
    routes = registry([EUROPE, AMERICA], "internal-us", "internal-eu")
    assert [backend.name for backend in routes.route("m", "eu")] == ["internal-eu"]


def test_no_backend_in_the_required_region_is_an_error_that_names_the_model_and_no_backend() -> None:
    with pytest.raises(UpstreamConnectError) as caught:
        registry([EUROPE], "internal-eu").route("m", "asia")
    told = str(caught.value.problem())
    assert caught.value.code == "no_backend_in_region"
    assert " m " in told
    assert "127.0.0.1" not in told
    assert "internal-eu" not in told


def test_a_region_is_not_guessed_for_a_backend_without_one() -> None:
    with pytest.raises(UpstreamConnectError):
        registry([{"name": "b", "url": URL}], "b").route("m", "eu")


def test_every_key_of_a_backend_reaches_the_client(tmp_path) -> None:
    ca, certificate, key = (tmp_path / name for name in ("ca.pem", "client.pem", "client.key"))
    for file in (ca, certificate, key):
        file.touch()
    document = {
        "name": "b", "url": "https://models.internal:8443/prefix/v1/", "region": "eu", "continuous_usage": True,
        "credential": "env:TOKEN", "ca_file": str(ca), "client_cert_file": str(certificate), "client_key_file": str(key),
        "connect_timeout_seconds": 1, "first_byte_timeout_seconds": 2, "idle_timeout_seconds": 3,
    }  # fmt: skip
    (backend,) = registry([document], "b").route("m", None)
    assert backend.base_url == "https://models.internal:8443/prefix/v1"
    assert (backend.name, backend.region, backend.continuous_usage) == ("b", "eu", True)
    assert backend.credential == "env:TOKEN"
    assert (backend.ca_file, backend.client_cert_file, backend.client_key_file) == (str(ca), str(certificate), str(key))
    assert (backend.connect_timeout, backend.first_byte_timeout, backend.idle_timeout) == (1, 2, 3)
