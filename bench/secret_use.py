"""What a backend's credential costs a call: cached use of each kind of reference, its injection, and a cold fetch.

    python -m bench.secret_use            # the cold fetch asks a real OpenBao, which it starts

Prints medians of several rounds. A cached use has to stay below 20 microseconds.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway.config.vault import Vault
from gateway.secrets.fetched import Fetched
from gateway.secrets.passing import answer_message
from gateway.secrets.reference_store import ReferenceStore
from gateway.secrets.sealed_file import SealedFile
from gateway.secrets.store import Secret
from gateway.secrets.vault.client import VaultClient
from gateway.secrets.vault.places import VaultPlace
from gateway.secrets.worker_store import WorkerSecrets
from gateway.upstream.injection import Injection, Outgoing, credential_fields
from tests.support.openbao import OpenBao

ROUNDS, USES = 7, 20_000
UNIT = "vault://secret/backends/vllm"


async def each(use: Callable[[], Awaitable[object]]) -> float:
    """Return what one use costs, microseconds: the median of the rounds."""
    found = []
    for _ in range(ROUNDS):
        begin = time.perf_counter_ns()
        for _ in range(USES):
            await use()
        found.append((time.perf_counter_ns() - begin) / USES / 1000)
    return statistics.median(found)


async def cached(directory: Path) -> None:
    """Measure what is at hand."""
    file = directory / "credential"
    file.touch(0o600)
    file.write_text("sk-example")
    key = Secret(b64encode(os.urandom(32)))
    sealed = SealedFile(directory / "sealed", lambda: key, passphrase=False, mark=directory / "mark")
    sealed.add("vllm", b"sk-example", 0)
    store = WorkerSecrets(ReferenceStore(sealed), lambda _message: None)
    fields = {"key": Secret(b"sk-example"), "access_key": Secret(b"AKID"), "secret_key": Secret(b"secret")}
    store.heard(answer_message((UNIT, ""), Fetched(fields, 1), 3600))
    for reference in (f"file:{file}", "sealed://vllm", f"{UNIT}#key"):
        cost = await each(lambda reference=reference: store.resolve(reference))  # type: ignore[misc]
        print(f"cached use      {reference.partition(':')[0]:10} {cost:8.2f} µs")
    whole = await store.resolve(UNIT)
    single = await store.resolve(f"{UNIT}#key")
    request = Outgoing("https://bedrock.eu-west-1.amazonaws.com/v1/chat/completions", [], b"x" * 1000)

    async def shown(injection: Injection) -> object:
        return credential_fields(injection, single if injection.kind != "aws-sigv4" else whole, request)

    for injection in (
        Injection(), Injection("header", "api-key"), Injection("basic", user="u"),
        Injection("aws-sigv4", region="eu-west-1", service="bedrock"),
    ):  # fmt: skip
        cost = await each(lambda injection=injection: shown(injection))  # type: ignore[misc]
        print(f"injection       {injection.kind:10} {cost:8.2f} µs")


def cold(directory: Path) -> None:
    """Measure a fetch from a real OpenBao over TLS: one round trip, beside the same request without the client."""
    with OpenBao(directory / "bao") as bao:
        bao.enable_kv()
        bao.put("backends/vllm", key="sk-example")
        bao.policy("bench", 'path "secret/data/*" { capabilities = ["read"] }')
        os.environ["GOVGATEWAY_BENCH_TOKEN"] = bao.token(["bench"], "10m")
        login = {"method": "token", "token": "env:GOVGATEWAY_BENCH_TOKEN"}
        settings = Vault.model_validate({"addresses": [bao.address], "ca_file": bao.ca_file, "login": login})

        class Local:
            def jwt_svid(self, audience: str) -> str:
                raise NotImplementedError(audience)

            def x509_svid(self) -> tuple[bytes, bytes]:
                raise NotImplementedError

            def read(self, reference: str) -> Secret:
                return ReferenceStore().read(reference)

        client = VaultClient(settings, Local())
        place = VaultPlace("kv-v2", "secret", "backends/vllm")
        root = bao.client(os.environ["GOVGATEWAY_BENCH_TOKEN"])
        for name, ask in {
            "one request of hvac alone": lambda: root.read("secret/data/backends/vllm"),
            "cold fetch of our client": lambda: client.read(place),
        }.items():
            ask()
            took = []
            for _ in range(200):
                begin = time.perf_counter()
                ask()
                took.append((time.perf_counter() - begin) * 1000)
            print(f"{name:26} {statistics.median(took):8.2f} ms median, {max(took):.2f} ms most")
        before = bao.audit_log.read_text().count('"type":"request"')
        client.read(place)
        trips = bao.audit_log.read_text().count('"type":"request"') - before
        print(f"requests for one cold fetch {trips:7d}")
        client.close()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(cached(Path(directory)))
        cold(Path(directory))


if __name__ == "__main__":
    main()
