"""Join tokens, kept by the real inventory: once, in time, for a node of the own domain, also under concurrency."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from identity.attestation.base import AttestationError, AttestationUnavailableError
from identity.attestation.join_token import JoinTokenAttestor
from identity.registry import Registry

NODE = "spiffe://home.test/node/build-1"
BY = "operator:alex"


@pytest.fixture
def registry(tmp_path, clock):
    registry = Registry(tmp_path / "registry.sqlite", clock)
    yield registry
    registry.close()


@pytest.fixture
def attestor(registry):
    return JoinTokenAttestor("home.test", registry.join_tokens)


async def refusal(attestor, silent, token):
    with pytest.raises(AttestationError) as caught:
        await attestor.attest({"token": token}, silent)
    return caught.value.rule


async def test_a_token_lets_its_node_in_once(registry, attestor, silent):
    token, _ = registry.join_tokens.create(NODE, 60, by=BY)
    attested = await attestor.attest({"token": token}, silent)
    assert (attested.spiffe_id, attested.can_reattest) == (NODE, False)
    assert attested.selectors == {f"join_token:id:{NODE}"}
    assert await refusal(attestor, silent, token) == "join-token-refused"


def test_of_many_threads_with_the_same_token_exactly_one_gets_in(registry, attestor, silent):
    token, _ = registry.join_tokens.create(NODE, 60, by=BY)

    def attempt(_):
        try:
            return asyncio.run(attestor.attest({"token": token}, silent)).spiffe_id
        except AttestationError as error:
            return error.rule

    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(attempt, range(32)))
    assert sorted(outcomes) == sorted([NODE, *["join-token-refused"] * 31])


async def test_a_token_that_has_expired_is_refused_and_used_up(registry, attestor, silent, clock):
    token, ends = registry.join_tokens.create(NODE, 60, by=BY)
    clock.now = ends
    assert await refusal(attestor, silent, token) == "join-token-refused"
    clock.now = ends - 1
    assert await refusal(attestor, silent, token) == "join-token-refused"


async def test_a_token_of_another_domain_lets_nobody_in(registry, silent):
    token, _ = registry.join_tokens.create("spiffe://home.test.evil/node/a", 60, by=BY)
    assert await refusal(JoinTokenAttestor("home.test", registry.join_tokens), silent, token) == "join-token-domain"


@pytest.mark.parametrize("token", ["short", "a" * 21, "a" * 513, "a" * 30 + "\n", "ä" * 30, None, 7, [], ""])
async def test_what_cannot_hold_128_bits_in_base64url_is_refused_without_a_look(silent, token):
    class Untouched:
        def use(self, token):
            raise AssertionError

    rule = await refusal(JoinTokenAttestor("home.test", Untouched()), silent, token)
    assert rule in {"join-token-malformed", "payload-malformed"}


async def test_an_inventory_that_cannot_be_used_is_told_apart_and_its_path_is_not_told(
    registry, attestor, silent, tmp_path
):
    token, _ = registry.join_tokens.create(NODE, 60, by=BY)
    registry.close()
    for file in tmp_path.glob("registry.sqlite*"):
        file.write_bytes(b"not a database" * 500)
    with pytest.raises(AttestationUnavailableError) as caught:
        await attestor.attest({"token": token}, silent)
    assert str(tmp_path) not in str(caught.value)
