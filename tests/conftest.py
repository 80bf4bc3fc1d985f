"""Settings of all tests, and what holds in each: a record that is written is as its type's definition says.

Property-based tests have no deadline, and in CI always try the same examples.
"""

import os
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import settings

import audit.log
from audit.chain import Linked, link
from audit.events import validate_record

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Name a case by its argument where its bytes say nothing, or differ from run to run: workers compare the names."""
    if isinstance(val, bytes) and (len(val) > 40 or not val.isascii()):
        return argname
    return None


LONGEST = (
    "test_svid_fetch", "test_audit_witness", "test_policy_following", "test_policy_activation", "test_survival",
    "test_audit_outside", "test_trust_domains", "test_audit_faults_kills", "test_policy_pipeline",
    "test_audit_faults_calls", "test_audit_postgres", "test_audit_sinks_kafka", "test_engines_agree",
    "test_month_of_evidence", "test_vault_secrets",
)  # fmt: skip
"""Modules that take half a minute and more. Run last, one of them would keep a worker busy while the others are done."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the modules that take the longest first."""
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))


@pytest.fixture(autouse=True)
def wrong_records(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Check every record that this process writes, but those of the types `test.…`, which tests of the log invent."""
    found: list[str] = []

    def checked(*arguments: Any) -> Linked:
        linked = link(*arguments)
        if not linked.type.startswith("test."):
            found.extend(f"{linked.type}: {problem}" for problem in validate_record(orjson.loads(linked.record)))
        return linked

    monkeypatch.setattr(audit.log, "link", checked)
    yield found
    assert not found, "records are not as audit.events defines them:\n" + "\n".join(found)
