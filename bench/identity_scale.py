"""Ten thousand entries and a thousand Workload API streams: memory, time to the first message, time of a rotation.

Usage: python bench/identity_scale.py [--entries N] [--streams N] [--json FILE]

This process serves: real authority, inventory, audit log, issuer and socket. Other processes hold the streams. As root,
each stream is a workload of its own, told by a supplementary group; otherwise all of them are one workload. The limit
on questions of one user is lifted by a faster clock, since here one user is a thousand workloads.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from audit.log import AuditLog
from audit.store import SqliteStore
from identity.authority import Authority, create_trust_domain
from identity.entries import Entry, matching
from identity.issuer import Issuer
from identity.keys import SealedKeyManager
from identity.manifest import Manifest, apply, plan
from identity.registry import Agent, Registry
from identity.workload_api.server import WorkloadServer

DOMAIN = "bench.test"
GATEWAY = f"spiffe://{DOMAIN}/gateway"
GROUPS = 1_000_000
"""Groups from here on tell the workloads apart; no real group has these numbers."""

CLIENTS = 4
STREAMS_PER_CONNECTION = 100
LOOKUPS = 20_000
SECONDS = 300
"""After so long something is given up."""


class Silent:
    """An observer that keeps nothing."""

    def attested(self, uid: int, pid: int, selectors: frozenset[str]) -> None: ...

    def refused(self, rule: str, detail: str) -> None:
        print(f"refused: {rule}: {detail}", file=sys.stderr)

    def served(self, method: str, spiffe_ids: object) -> None: ...


def manifest(entries: int, distinct: bool) -> Manifest:
    """Return identities with an entry each; without `distinct` only the first has selectors that a client has."""
    agents, found = [], []
    for number in range(entries):
        spiffe_id = f"spiffe://{DOMAIN}/agent/{number:05}"
        own = number == 0 and not distinct
        told = f"unix:gid:{os.getegid()}" if own else f"unix:supplementary_gid:{GROUPS + number}"
        selectors = frozenset({f"unix:uid:{os.geteuid()}", told})
        agents.append(Agent(spiffe_id, "agent", "bench", "bench", "active", "limited", "", "measures"))
        found.append(Entry("", spiffe_id, GATEWAY, selectors))
    return Manifest(tuple(agents), tuple(found))


def pss_mb() -> float:
    """Return the memory of this process, pages shared with others in part (MB)."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6


def matching_rate(index: Any) -> float:
    """Return calls to `matching` a second, each for a workload of eight selectors of which two count."""
    common = {f"unix:uid:{os.geteuid()}", "unix:user:bench", "unix:group:bench", "systemd:id:bench.service",
              "systemd:slice:bench", "unix:path:/usr/bin/bench", f"unix:sha256:{'0' * 64}"}  # fmt: skip
    asked = [frozenset({*common, f"unix:supplementary_gid:{GROUPS + 1 + n % (len(index) - 1)}"})
             for n in range(1000)]  # fmt: skip
    begin = time.perf_counter()
    for number in range(LOOKUPS):
        found = matching(index, GATEWAY, asked[number % 1000], 0)
    if len(found) != 1:
        raise SystemExit(f"a workload matched {len(found)} entries instead of one")
    return LOOKUPS / (time.perf_counter() - begin)


class Clients:
    """The processes that hold the streams. Each line they write is one moment, in seconds of the monotonic clock."""

    def __init__(self, processes: list[asyncio.subprocess.Process]) -> None:
        self._processes = processes

    async def tell(self, word: str) -> None:
        """Let all of them go on."""
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.write(f"{word}\n".encode())
                await process.stdin.drain()

    async def hear(self) -> list[float]:
        """Return what each of them says next, put together."""
        async with asyncio.timeout(SECONDS):
            lines = await asyncio.gather(*(_line(process) for process in self._processes))
        return sorted(moment for line in lines for moment in json.loads(line))


async def _line(process: asyncio.subprocess.Process) -> bytes:
    return await process.stdout.readline() if process.stdout else b"[]"


@asynccontextmanager
async def clients(path: Path, streams: int, each_its_own: bool) -> AsyncIterator[Clients]:
    """Start the client processes, each with its share of the streams; each says `[]` once it is connected."""
    share = streams // CLIENTS
    command = [sys.executable, __file__, "--client", str(path), str(share), str(int(each_its_own))]
    pipe = asyncio.subprocess.PIPE
    started = [
        await asyncio.create_subprocess_exec(*command, str(n * share), stdin=pipe, stdout=pipe, limit=1 << 24)
        for n in range(CLIENTS)
    ]
    try:
        yield Clients(started)
    finally:
        for process in started:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def rotate(authority: Authority, issuer: Issuer) -> tuple[float, float]:
    """Taint what signed so far; return when, and how long the issuer then took to renew everything (seconds)."""
    old = next(each.authority_id for each in authority.show().x509 if each.state == "active")
    authority.prepare("x509")
    authority.activate("x509")
    authority.taint("x509", old)
    begin = time.monotonic()
    await issuer.tick()
    return begin, time.monotonic() - begin


async def stream_figures(
    name: str, path: Path, streams: int, each_its_own: bool, authority: Authority, issuer: Issuer
) -> dict[str, float]:
    """Return the figures of one kind of load."""
    before = pss_mb()
    async with clients(path, streams, each_its_own) as held:
        await held.hear()
        begin = time.monotonic()
        await held.tell("fetch")
        first = await held.hear()
        after = pss_mb()
        tainted, ticked = await rotate(authority, issuer)
        pushed = await held.hear()
    return {
        f"{name}: PSS before, MB": before,
        f"{name}: PSS with the streams open, MB": after,
        f"{name}: all have their first message, s": first[-1] - begin,
        f"{name}: issuer renewed after a taint, s": ticked,
        f"{name}: pushed after a taint, median, s": statistics.median(pushed) - tainted,
        f"{name}: pushed after a taint, last, s": pushed[-1] - tainted,
    }


async def measure(directory: Path, entries: int, streams: int) -> dict[str, float]:
    """Return the figures by name."""
    distinct = os.geteuid() == 0
    state = directory / "state"
    keys = SealedKeyManager(state / "authority" / "keys", os.urandom(32))
    create_trust_domain(state, DOMAIN, keys, time.time_ns)
    authority = Authority.open(state, DOMAIN, keys, time.time_ns)
    registry = Registry(directory / "registry.sqlite", time.time_ns)
    log = AuditLog(
        SqliteStore(directory / "audit", "example.org/audit"), "bench", digest_key=os.urandom(32), clock=time.time_ns
    )

    async def record(record_type: str, fields: dict[str, Any]) -> None:
        await log.append(record_type, fields).durable()

    issuer = Issuer(authority=authority, registry=registry, parent_id=GATEWAY, federated=dict, record=record,
                    clock=time.time_ns)  # fmt: skip
    result = {"PSS of the empty server, MB": pss_mb()}
    begin = time.perf_counter()
    apply(registry, plan(registry.contents(), manifest(entries, distinct)), by="bench")
    result[f"{entries} entries applied from a file, s"] = time.perf_counter() - begin
    begin = time.perf_counter()
    await issuer.tick()
    result[f"{entries} entries loaded, s"] = time.perf_counter() - begin
    result["calls to matching a second"] = matching_rate(registry.snapshot().entries)
    server = WorkloadServer(directory / "api.sock", issuer, Silent(), mode=0o700, clock=lambda: 1000 * time.monotonic())
    await server.start()
    kinds = (("each its own identity", True), ("one identity", False)) if distinct else (("one identity", False),)
    for name, each_its_own in kinds:
        result |= await stream_figures(
            f"{streams} streams, {name}", directory / "api.sock", streams, each_its_own, authority, issuer
        )
        while server.connections:  # noqa: ASYNC110 - the server under test tells nobody when the last one leaves
            await asyncio.sleep(0.01)
    await server.close()
    await log.close()
    registry.close()
    return result


async def client(path: str, streams: int, each_its_own: bool, offset: int) -> None:
    """Hold streams; write when each had its first message, and when its second."""
    import grpc.aio  # noqa: PLC0415 - not into the process that is measured

    from identity.workload_api.messages import X509SVIDRequest, X509SVIDResponse  # noqa: PLC0415 - as above

    channels = []
    for number in range(streams if each_its_own else -(-streams // STREAMS_PER_CONNECTION)):
        if os.geteuid() == 0:
            os.setgroups([GROUPS + (offset + number if each_its_own else 0)])
        opened = grpc.aio.insecure_channel(f"unix:{path}", [("grpc.use_local_subchannel_pool", 1)])
        await opened.channel_ready()
        channels.append(opened)

    def stream(number: int) -> Any:
        call = channels[number % len(channels)].unary_stream(
            "/SpiffeWorkloadAPI/FetchX509SVID",
            request_serializer=X509SVIDRequest.SerializeToString,
            response_deserializer=X509SVIDResponse.FromString,
        )
        return call(X509SVIDRequest(), metadata=(("workload.spiffe.io", "true"),))

    async def moment(held: Any) -> float:
        message = await held.read()
        if len(message.svids) != 1:
            raise SystemExit(f"a stream got {len(message.svids)} SVIDs instead of one")
        return time.monotonic()

    print("[]", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    held = [stream(number) for number in range(streams)]
    for _ in range(2):
        print(json.dumps(await asyncio.gather(*map(moment, held))), flush=True)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--streams", type=int, default=1000, help=f"a multiple of {CLIENTS}")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--client", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        path, streams, each_its_own, offset = arguments.client
        asyncio.run(client(path, int(streams), bool(int(each_its_own)), int(offset)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        result = asyncio.run(measure(Path(scratch), arguments.entries, arguments.streams))
    print("| identities at scale | |\n| --- | ---: |")
    for name, value in result.items():
        print(f"| {name} | {value:,.0f} |" if value >= 1000 else f"| {name} | {value:.2f} |")
    if arguments.json:
        arguments.json.write_text(
            json.dumps({name: round(value, 3) for name, value in result.items()}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
