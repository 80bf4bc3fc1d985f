"""What a follower may say in the headers of its request for the active revision."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from gateway.admin.policy import MAX_WAIT_SECONDS, policy_routes
from gateway.policy_activation.store import Activation

DIGEST = "a" * 64


class Policies:
    """The active revision, which is never replaced."""

    def __init__(self) -> None:
        self.waited: list[float] = []
        self.store = SimpleNamespace(get=lambda _digest: b"bundle")
        activation = Activation(digest=DIGEST, revision="r", data_digest="d", time=1, by="b", source="s")
        self.active = SimpleNamespace(activation=activation)

    async def wait(self, _digest: str, seconds: float, _who: str) -> None:
        self.waited.append(seconds)


@pytest.fixture
def policies() -> Policies:
    return Policies()


@pytest.fixture
def client(policies: Policies) -> Iterator[TestClient]:
    async def caller() -> Any:
        return SimpleNamespace(peer=SimpleNamespace(id="spiffe://example.org/follower"))

    async def follows(_request: Any = None) -> Any:
        return await caller()

    access = SimpleNamespace(requires=lambda _action: follows)
    app = FastAPI()
    app.include_router(policy_routes(access, SimpleNamespace(policies=policies), SimpleNamespace()))
    with TestClient(app) as made:
        yield made


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("wait=7", 7),
        ("WAIT=7", 7),
        ("Wait = 7", 7),
        ('respond-async, wait="7"', 7),
        ("modes=snapshot;wait=7", 7),
        ("wait=99999", MAX_WAIT_SECONDS),
    ],
)
def test_a_follower_waits_as_long_as_it_prefers(client, policies, prefer, seconds):
    answer = client.get("/v1/policy/bundles/govgateway.tar.gz", headers={"prefer": prefer, "if-none-match": DIGEST})
    assert answer.status_code == 304
    assert policies.waited == [seconds]


@pytest.mark.parametrize("prefer", ["", "wait=", "wait=-1", "await=7", "wait=7x", "x-wait=7"])
def test_a_preference_that_is_no_waiting_time_does_not_wait(client, policies, prefer):
    client.get("/v1/policy/bundles/govgateway.tar.gz", headers={"prefer": prefer, "if-none-match": DIGEST})
    assert policies.waited == []


def test_a_preference_in_a_second_header_counts(client, policies):
    headers = [("prefer", "respond-async"), ("prefer", "wait=3"), ("if-none-match", '"x"'), ("if-none-match", DIGEST)]
    assert client.get("/v1/policy/bundles/govgateway.tar.gz", headers=headers).status_code == 304
    assert policies.waited == [3]


@pytest.mark.parametrize("tags", ["*", " * ", f'"{DIGEST}"', f'W/"{DIGEST}"', f'"x", "{DIGEST}"'])
def test_whoever_has_the_revision_is_told_so_at_once(client, policies, tags):
    answer = client.get("/v1/policy/bundles/govgateway.tar.gz", headers={"if-none-match": tags})
    assert answer.status_code == 304
    assert answer.headers["etag"] == f'"{DIGEST}"'
    assert policies.waited == []


def test_whoever_takes_any_revision_has_nothing_to_wait_for(client, policies):
    headers = {"prefer": "wait=9", "if-none-match": "*"}
    assert client.get("/v1/policy/bundles/govgateway.tar.gz", headers=headers).status_code == 304
    assert policies.waited == []


def test_whoever_has_another_revision_is_given_the_active_one(client):
    answer = client.get("/v1/policy/bundles/govgateway.tar.gz", headers={"if-none-match": '"x"'})
    assert (answer.status_code, answer.content) == (200, b"bundle")
