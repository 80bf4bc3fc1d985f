"""The keeper fetches once, keeps fresh, backs off, bounds what is stale, and ends leases; workers use what they are told."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from audit.errors import AuditUnavailableError
from gateway.errors import UnavailableError
from gateway.secrets.fetched import Fetched, SecretSourceError
from gateway.secrets.keeper import GRACE_SECONDS, IDLE_SECONDS, LONGEST_DELAY_SECONDS, REFETCH_SECONDS, SecretKeeper
from gateway.secrets.reference_store import ReferenceStore
from gateway.secrets.store import Secret
from gateway.secrets.worker_store import WorkerSecrets

UNIT = "vault://secret/backends/vllm"
KEY = f"{UNIT}#key"
REFRESH, STALE = 30.0, 100.0


class Vault:
    """A stand-in for Vault, whose answers a test sets."""

    def __init__(self) -> None:
        self.values: dict[str, Fetched | SecretSourceError] = {UNIT: kv(b"one", 1)}
        self.fetches: list[str] = []
        self.renewals: list[str] = []
        self.revoked: list[str] = []
        self.renewed_seconds: float | SecretSourceError = 60.0
        self.logins = 1
        self.slow = asyncio.Event()
        self.slow.set()

    async def fetch(self, unit: str) -> Fetched:
        self.fetches.append(unit)
        await self.slow.wait()
        found = self.values.get(unit, SecretSourceError("nothing is there", "secret_missing"))
        if isinstance(found, SecretSourceError):
            raise found
        return found

    async def renew(self, lease_id: str) -> float:
        self.renewals.append(lease_id)
        if isinstance(self.renewed_seconds, SecretSourceError):
            raise self.renewed_seconds
        return self.renewed_seconds

    async def revoke(self, lease_id: str) -> None:
        self.revoked.append(lease_id)

    async def tend(self) -> None:
        return

    def bounds(self, unit: str) -> tuple[float, float]:
        return REFRESH, STALE


class World:
    """A keeper with two workers, and a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.vault = Vault()
        self.records: list[tuple[str, dict[str, Any]]] = []
        self.inactive: set[str] = set()
        self.full = False
        self.messages = 0
        self.keeper = SecretKeeper(
            self.vault,
            self._to_worker,
            self._record,
            lambda agent: agent not in self.inactive,
            clock=lambda: self.now,
            chance=lambda: 1.0,
        )
        self.workers = [
            WorkerSecrets(ReferenceStore(), self._from_worker(index), clock=lambda: self.now) for index in range(2)
        ]

    def _to_worker(self, index: int, message: Mapping[str, Any]) -> None:
        self.workers[index].heard(message)

    def _from_worker(self, index: int) -> Any:
        def send(message: Mapping[str, Any]) -> None:
            self.messages += 1
            self.keeper.heard(index, message)

        return send

    def _record(self, record_type: str, fields: dict[str, Any]) -> None:
        if self.full:
            raise AuditUnavailableError("the disk is full")
        self.records.append((record_type, fields))

    async def later(self, seconds: float) -> None:
        """Let time pass; what is due happens at its end."""
        self.now += seconds
        await self.keeper.tick()
        for _ in range(10):
            await asyncio.sleep(0)

    async def value(self, reference: str = KEY, principal: str = "", worker: int = 0) -> bytes:
        found = await self.workers[worker].resolve(reference, principal)
        assert found.value is not None
        return found.value.reveal()

    async def code(self, reference: str = KEY, principal: str = "") -> str:
        with pytest.raises(UnavailableError) as caught:
            await self.workers[0].resolve(reference, principal)
        return caught.value.code


def kv(value: bytes, version: int) -> Fetched:
    return Fetched({"key": Secret(value), "other": Secret(b"x")}, version, others=frozenset({"number"}))


def leased(value: bytes, lease: str, *, renewable: bool = True) -> Fetched:
    return Fetched({"key": Secret(value)}, 0, lease, 60.0, renewable)


@pytest.fixture
async def world() -> World:
    return World()


async def test_ten_thousand_first_uses_are_one_fetch(world):
    world.vault.slow.clear()
    asked = [asyncio.create_task(world.value(worker=number % 2)) for number in range(10_000)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    world.vault.slow.set()
    assert set(await asyncio.gather(*asked)) == {b"one"}
    assert world.vault.fetches == [UNIT]
    assert world.messages == 2  # one from each worker


async def test_ten_thousand_first_uses_that_fail_are_one_fetch_too(world):
    world.vault.values[UNIT] = SecretSourceError("sealed", "secret_unavailable")
    found = await asyncio.gather(*(world.code() for _ in range(10_000)))
    assert set(found) == {"secret_unavailable"}
    assert len(world.vault.fetches) == 1


async def test_a_new_version_reaches_every_worker_without_being_asked_for(world):
    assert [await world.value(worker=0), await world.value(worker=1)] == [b"one", b"one"]
    asked = world.messages
    world.vault.values[UNIT] = kv(b"two", 2)
    await world.later(REFRESH)
    assert [await world.value(worker=0), await world.value(worker=1)] == [b"two", b"two"]
    assert world.messages == asked
    read = [(each["purpose"], each["version"]) for name, each in world.records if name == "secret.read"]
    assert read == [("first", 1), ("rotated", 2)]
    assert "one" not in str(world.records)


async def test_the_same_value_again_is_not_put_on_record_again(world):
    await world.value()
    for _ in range(5):
        await world.later(REFRESH)
    assert len(world.vault.fetches) == 6
    assert len(world.records) == 1


async def test_while_vault_is_away_the_last_value_is_used_within_its_bound(world):
    await world.value()
    world.vault.values[UNIT] = SecretSourceError("sealed", "secret_unavailable")
    for _ in range(9):
        await world.later(13)
        assert await world.value() == b"one"
    assert "used for 13 more seconds" in world.keeper.problem()
    await world.later(14)
    assert await world.code() == "secret_unavailable"
    world.vault.values[UNIT] = kv(b"two", 2)
    await world.later(LONGEST_DELAY_SECONDS)
    assert await world.value() == b"two"
    assert world.keeper.problem() == ""


async def test_what_vault_denies_or_has_no_more_is_not_used_on(world):
    for code in ("secret_denied", "secret_missing"):
        world.vault.values[UNIT] = kv(b"one", 1)
        await world.later(LONGEST_DELAY_SECONDS)
        assert await world.value() == b"one"
        world.vault.values[UNIT] = SecretSourceError("no", code)
        await world.later(REFRESH)
        assert await world.code() == code


async def test_after_failures_the_next_fetch_waits_longer_each_time(world):
    world.vault.values[UNIT] = SecretSourceError("sealed", "secret_unavailable")
    await world.code()
    waits = []
    for _ in range(9):
        before, waited = len(world.vault.fetches), 0.0
        while len(world.vault.fetches) == before:
            await world.later(0.25)
            waited += 0.25
            await world.code()  # asking makes it no faster
        waits.append(waited)
    assert waits == [0.25, 0.5, 1, 2, 4, 8, 15, 15, 15]


async def test_a_field_that_is_missing_or_no_text_is_named(world):
    with pytest.raises(UnavailableError, match="there is no field absent; there are: key, other"):
        await world.workers[0].resolve(f"{UNIT}#absent")
    with pytest.raises(UnavailableError, match="the field number is empty or no text"):
        await world.workers[0].resolve(f"{UNIT}#number")
    assert (await world.workers[0].resolve(UNIT)).value is None  # several fields, and none of them named


async def test_a_refused_value_is_fetched_anew_once_and_not_at_every_refusal(world):
    used = await world.workers[0].resolve(KEY)
    assert await world.workers[0].refused(used) is None
    world.vault.values[UNIT] = kv(b"two", 2)
    assert await world.workers[0].refused(used) is None  # it was asked for at this moment
    world.now += REFETCH_SECONDS
    found = await asyncio.gather(*(world.workers[0].refused(used) for _ in range(100)))
    assert {each.value.reveal() for each in found if each is not None and each.value is not None} == {b"two"}
    assert None not in found
    assert len(world.vault.fetches) == 3
    again = await world.workers[0].resolve(KEY)
    for _ in range(100):
        assert await world.workers[0].refused(again) is None
    assert len(world.vault.fetches) == 3


async def test_a_lease_is_renewed_and_replaced_before_its_last_end(world):
    world.vault.values[UNIT] = leased(b"one", "lease/1")
    assert await world.value() == b"one"
    await world.later(31)
    assert (world.vault.renewals, len(world.vault.fetches)) == (["lease/1"], 1)
    world.vault.renewed_seconds = 20.0  # it comes to its last end
    await world.later(31)
    world.vault.values[UNIT] = leased(b"two", "lease/2")
    await world.later(11)
    assert await world.value() == b"two"
    assert world.vault.revoked == []  # calls may be under way with the one before
    await world.later(GRACE_SECONDS)
    assert world.vault.revoked == ["lease/1"]


async def test_a_lease_that_vault_revoked_is_replaced_at_once(world):
    world.vault.values[UNIT] = leased(b"one", "lease/1")
    await world.value()
    world.vault.values[UNIT] = leased(b"two", "lease/2")
    world.vault.renewed_seconds = SecretSourceError("lease not found", "secret_denied")
    await world.later(31)
    assert await world.value() == b"two"


async def test_leases_of_an_earlier_login_are_replaced(world):
    world.vault.values[UNIT] = leased(b"one", "lease/1")
    await world.value()
    world.vault.logins = 2
    world.vault.values[UNIT] = leased(b"two", "lease/2")
    await world.later(1)
    assert await world.value() == b"two"


async def test_a_lease_is_not_used_at_its_end_though_vault_is_away(world):
    world.vault.values[UNIT] = leased(b"one", "lease/1")
    await world.value()
    world.vault.values[UNIT] = world.vault.renewed_seconds = SecretSourceError("sealed", "secret_unavailable")
    await world.later(53)
    assert await world.value() == b"one"
    await world.later(1)  # the last tenth of a lifetime is the margin
    assert await world.code() == "secret_unavailable"


async def test_each_agent_has_its_own_lease_which_ends_with_its_standing(world):
    agents = ["spiffe://example.org/agent/a", "spiffe://example.org/agent/b"]
    for number, agent in enumerate(agents):
        world.vault.values[UNIT] = leased(b"of-%d" % number, f"lease/{number}")
        assert await world.value(principal=agent) == b"of-%d" % number
    assert [fields["on_behalf_of"] for _, fields in world.records] == agents
    world.inactive.add(agents[0])
    await world.later(1)
    assert world.vault.revoked == ["lease/0"]
    assert await world.code(principal=agents[0]) == "secret_denied"
    assert await world.value(principal=agents[1]) == b"of-1"
    assert world.records[-1] == ("secret.released", {"secret": UNIT, "lease": "lease/0", "cause": "revoked"})


async def test_what_nobody_uses_is_forgotten_and_its_lease_ended(world):
    world.vault.values[UNIT] = leased(b"one", "lease/1")
    await world.value()
    world.keeper.used(world.workers[0].take_used())
    for _ in range(int(IDLE_SECONDS / 29) + 2):
        await world.later(29)
    assert world.vault.revoked == ["lease/1"]
    assert world.keeper.inventory() == []


async def test_what_is_in_use_is_kept(world):
    await world.value()
    for _ in range(int(IDLE_SECONDS / 29) + 2):
        await world.value()
        world.keeper.used(world.workers[0].take_used())
        await world.later(29)
    assert [each["reference"] for each in world.keeper.inventory()] == [UNIT]


async def test_what_the_configuration_names_is_fetched_before_it_is_needed_and_kept(world):
    world.keeper.expect({UNIT})
    await world.later(1)
    assert world.vault.fetches == [UNIT]
    await world.later(IDLE_SECONDS + 1)
    assert await world.value() == b"one"
    world.keeper.expect(set())
    await world.later(IDLE_SECONDS + 1)
    assert world.keeper.inventory() == []


async def test_closing_ends_every_lease(world):
    world.vault.values[UNIT] = leased(b"one", "lease/1")
    await world.value()
    world.vault.values["vault://database/creds/app"] = leased(b"two", "lease/2")
    await world.value("vault://database/creds/app#key")
    await world.keeper.close()
    assert sorted(world.vault.revoked) == ["lease/1", "lease/2"]


async def test_what_cannot_be_put_on_record_is_not_given_out(world):
    world.full = True
    assert await world.code() == "audit_unavailable"
    world.full = False
    await world.later(1)
    assert await world.value() == b"one"


async def test_no_message_or_print_of_the_keeper_has_a_value(world):
    await world.value()
    shown = repr(world.keeper.inventory()) + repr(world.keeper._kept) + repr(world.workers[0]._held)
    assert "one" not in shown.replace("None", "")


async def test_a_control_process_that_does_not_answer_is_no_wait_for_ever(world, monkeypatch):
    monkeypatch.setattr("gateway.secrets.worker_store.ANSWER_SECONDS", 0.01)
    alone = WorkerSecrets(ReferenceStore(), lambda _message: None)
    with pytest.raises(UnavailableError, match="does not answer"):
        await alone.resolve(KEY)


async def test_what_is_forgotten_while_it_is_fetched_leaves_no_lease_and_nobody_waiting(world):
    world.vault.slow.clear()
    world.vault.values[UNIT] = leased(b"one", "lease/1")
    waiting = asyncio.create_task(world.code())
    for _ in range(5):
        await asyncio.sleep(0)
    world.keeper.expect(set())  # a new configuration names it no more
    world.vault.slow.set()
    assert await waiting == "secret_unavailable"
    await world.later(1)
    assert world.vault.revoked == ["lease/1"]
    assert world.keeper.inventory() == []
