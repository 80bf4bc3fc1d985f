"""The ways to Vault and to exchanges are in the evidence, and what is leased is no key that lasts."""

from pathlib import Path

import pytest

from gateway.config import GatewayConfig, load_config
from gateway.hops import hops_of
from gateway.static_keys import static_keys


@pytest.fixture
def config(tmp_path: Path) -> GatewayConfig:
    path = tmp_path / "govgateway.yaml"
    path.write_text(
        """
trust_domain: example.org
identity: {seal_key: "env:SEAL"}
policy: {directory: policies}
secrets:
  vault:
    addresses: ["https://vault.example.org:8200"]
    login: {method: cert}
    mounts: [{path: secret}, {path: database, engine: dynamic}]
  exchanges: [{name: azure, kind: entra, tenant: t, client_id: c, scope: s}]
backends:
  - {name: lasting, url: "https://a.example.org/v1", credential: "vault://secret/a#key"}
  - {name: leased, url: "https://b.example.org/v1", credential: "vault://database/creds/b#password"}
  - {name: exchanged, url: "https://c.example.org/v1", credential: "exchange://azure"}
models: [{name: m, backends: [lasting, leased, exchanged]}]
"""
    )
    return load_config(path)


def test_the_ways_to_secrets_are_told(config):
    found = {hop["hop"]: hop for hop in hops_of(config) if hop["carries"] == "secrets"}
    assert set(found) == {"secrets.vault:https://vault.example.org:8200", "secrets.exchange:azure"}
    assert all(hop["encrypted"] and hop["reach"] == "network" for hop in found.values())
    assert found["secrets.vault:https://vault.example.org:8200"]["mutual"]


def test_only_what_lasts_is_a_static_key(config):
    assert [each.subject for each in static_keys(config, [], [])] == ["lasting"]
