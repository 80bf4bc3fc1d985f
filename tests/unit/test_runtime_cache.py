"""How much of the input the keys of the decision cache hold, by the engine that the configuration chooses."""

from pathlib import Path
from typing import Any

import pytest

from gateway.app import build_runtime
from gateway.authorization.cache import CachingEngine
from gateway.authorization.policy_set import LoadedPolicySet, load_policy_set
from gateway.config import GatewayConfig
from gateway.starter import starter_policies


@pytest.fixture(scope="module")
def policies() -> LoadedPolicySet:
    return load_policy_set(starter_policies())


@pytest.mark.parametrize(
    ("policy", "address", "whole"),
    [
        ({}, "", False),
        ({"engine": "opa", "opa": {"address": "http://127.0.0.1:8181"}}, "", True),
        ({"engine": "opa", "opa": {"executable": "/usr/bin/opa"}}, "unix:///run/opa.sock", False),
    ],
)
async def test_only_an_opa_run_elsewhere_may_read_more_than_the_rules_known_here(
    policies: LoadedPolicySet, tmp_path: Path, policy: dict[str, Any], address: str, whole: bool
) -> None:
    document = {
        "trust_domain": "gateway.test",
        "state_dir": str(tmp_path),
        "backends": [{"name": "plain", "url": "http://127.0.0.1:9/v1"}],
        "models": [{"name": "m", "backends": ["plain"], "system": "assistant"}],
        "policy": {"source": "bundle", "unsafe_unsigned": True, **policy},
    }
    runtime = build_runtime(GatewayConfig.model_validate(document), policies, opa_address=address)
    assert isinstance(runtime.engine, CachingEngine)
    assert runtime.engine.paths.whole is whole
