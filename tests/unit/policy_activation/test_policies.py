"""Followers that wait for the next revision: each identity has a share, and news wakes them all."""

import asyncio

import pytest

from gateway.policy_activation import policies as module
from gateway.policy_activation.policies import Active, ActivePolicies
from gateway.policy_activation.store import Activation, PolicyStore


@pytest.fixture
def policies(tmp_path) -> ActivePolicies:
    made = ActivePolicies(PolicyStore(tmp_path), lambda: 1)
    made._active = Active(activation("a"), None)
    return made


def activation(letter: str) -> Activation:
    return Activation(digest=letter * 64, revision=letter, data_digest="d", time=1, by="b", source="s")


async def test_news_wakes_whoever_waits_and_who_has_other_news_does_not_wait(policies):
    waiting = asyncio.create_task(policies.wait("a" * 64, 60, "one"))
    await asyncio.sleep(0)
    policies.take(type("Candidate", (), {"policies": None})(), activation("b"))
    await asyncio.wait_for(waiting, 5)
    await asyncio.wait_for(policies.wait("a" * 64, 60, "one"), 5)
    assert policies._waiting.total() == 0


async def test_one_identity_takes_no_more_than_its_share_and_leaves_the_others_theirs(policies, monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING_EACH", 2)
    greedy = [asyncio.create_task(policies.wait("a" * 64, 60, "greedy")) for _ in range(4)]
    other = asyncio.create_task(policies.wait("a" * 64, 60, "other"))
    await asyncio.wait_for(asyncio.gather(*greedy[2:]), 30)  # those beyond the share are answered after a second
    assert not any(task.done() for task in (*greedy[:2], other))
    for task in (*greedy, other):
        task.cancel()
    await asyncio.gather(*greedy, other, return_exceptions=True)
    assert policies._waiting.total() == 0
