"""Every secret store behaves the same behind the seam: the sealed file, and a real OpenBao through keeper and worker."""

import asyncio
import secrets
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway.config.loader import load_config
from gateway.config.model import GatewayConfig
from gateway.errors import UnavailableError
from gateway.secrets.fetched import SecretSourceError
from gateway.secrets.keeper import REFETCH_SECONDS, SecretKeeper
from gateway.secrets.reference_store import ReferenceStore
from gateway.secrets.sealed_file import SealedFile
from gateway.secrets.sources import FetchedSources
from gateway.secrets.store import Secret, SecretStore
from gateway.secrets.worker_store import WorkerSecrets
from tests.support.openbao import OpenBao

FIRST, SECOND = "canary-one-4c1d", "canary-two-99b0"


class World:
    """A store with one secret; `reference` names it, `absent` one that is not there."""

    def __init__(self, store: SecretStore, reference: str, absent: str, rotate: Callable[[str], int]) -> None:
        self.store, self.reference, self.absent, self.rotate = store, reference, absent, rotate


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with OpenBao(tmp_path_factory.mktemp("bao") / "server") as server:
        server.enable_kv()
        server.policy("reads", 'path "secret/data/*" { capabilities = ["read"] }')
        yield server


def sealed_world(directory: Path) -> World:
    key = Secret(b64encode(secrets.token_bytes(32)))
    file = SealedFile(directory / "sealed", lambda: key, passphrase=False, mark=directory / "mark")
    file.add("vllm", FIRST.encode(), int(time.time()))

    def rotate(value: str) -> int:
        return file.rotate("vllm", value.encode(), int(time.time())).version

    return World(WorkerSecrets(ReferenceStore(file), lambda _: None), "sealed://vllm", "sealed://other", rotate)


def configuration(bao: OpenBao, directory: Path) -> GatewayConfig:
    path = directory / "govgateway.yaml"
    path.write_text(
        f"""
trust_domain: gateway.test
identity: {{seal_key: "env:UNUSED"}}
policy: {{directory: policies}}
secrets:
  vault:
    addresses: ["{bao.address}"]
    ca_file: {bao.ca_file}
    login: {{method: token, token: "env:GOVGATEWAY_TEST_VAULT_TOKEN"}}
    refresh_seconds: 3600
backends: [{{name: b, url: "http://127.0.0.1:1/v1"}}]
models: [{{name: m, backends: [b]}}]
"""
    )
    return load_config(path)


class Local:
    def jwt_svid(self, audience: str) -> str:
        raise SecretSourceError(audience, "secret_unavailable")

    def x509_svid(self) -> tuple[bytes, bytes]:
        raise SecretSourceError("none", "secret_unavailable")

    def read(self, reference: str) -> Secret:
        return ReferenceStore().read(reference)


async def no_svid(audience: str) -> str:
    raise SecretSourceError(audience, "secret_unavailable")


@pytest.fixture(params=["sealed", "vault"])
async def world(
    request: pytest.FixtureRequest, bao: OpenBao, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    if request.param == "sealed":
        yield sealed_world(tmp_path)
        return
    monkeypatch.setenv("GOVGATEWAY_TEST_VAULT_TOKEN", bao.token(["reads"], "10m"))
    path = f"backends/{secrets.token_hex(4)}"
    bao.put(path, key=FIRST)
    sources = FetchedSources(configuration(bao, tmp_path), Local(), no_svid, time.time_ns)
    worker: list[WorkerSecrets] = []

    def to_worker(_index: int, message: Mapping[str, Any]) -> None:
        worker[0].heard(message)

    keeper = SecretKeeper(sources, to_worker, lambda *_: None, lambda _agent: True)
    worker.append(WorkerSecrets(ReferenceStore(), lambda message: keeper.heard(0, message)))
    reference = f"vault://secret/{path}#key"
    absent = "vault://secret/backends/nothing#key"
    yield World(worker[0], reference, absent, lambda value: bao.put(path, key=value))
    await keeper.close()
    await sources.close()


async def value(world: World) -> str:
    resolved = await world.store.resolve(world.reference)
    assert resolved.value is not None
    return resolved.value.reveal().decode()


async def test_a_reference_gives_its_value(world):
    assert await value(world) == FIRST
    assert (await world.store.resolve(world.reference)).reference == world.reference


async def test_what_is_not_there_is_unavailable_and_names_the_reference(world):
    with pytest.raises(UnavailableError) as caught:
        await world.store.resolve(world.absent)
    assert caught.value.code == "secret_missing"
    assert world.absent.partition("#")[0] in str(caught.value)
    assert await value(world) == FIRST


async def test_a_refused_value_is_another_one_after_a_rotation_and_none_before(world):
    used = await world.store.resolve(world.reference)
    assert await world.store.refused(used) is None
    assert world.rotate(SECOND) == 2
    await asyncio.sleep(REFETCH_SECONDS)  # Vault is not asked again for a refused value before
    now = await world.store.refused(used)
    assert now is not None
    assert now.value is not None
    assert now.value.matches(SECOND.encode())
    assert await value(world) == SECOND


async def test_many_at_once_get_the_same(world):
    assert set(await asyncio.gather(*(value(world) for _ in range(500)))) == {FIRST}


async def test_no_value_shows(world, capsys):
    resolved = await world.store.resolve(world.reference)
    with pytest.raises(UnavailableError) as caught:
        await world.store.resolve(world.absent)
    structlog.get_logger().info("shown", resolved=resolved, error=str(caught.value), store=repr(world.store))
    shown = capsys.readouterr()
    assert FIRST not in repr(resolved) + str(caught.value) + shown.out + shown.err
