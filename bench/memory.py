"""Memory of a running gateway, process by process: idle, with many streamed answers under way, and afterwards.

Usage: python bench/memory.py [--streams N] [--json FILE]

One worker, the example model server behind it, everything as `govctl init` writes it. PSS: shared pages are divided
among the processes that share them, so the sum is what the machine really gives.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.running_gateway import ROOT, AgentFiles, RunningGateway

MODEL = "example-chat"
HANDSHAKES = 40
"""Connections opened at once."""


def pss(pid: int) -> float:
    """Return the proportional resident memory of a process, MB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def children(pid: int) -> list[int]:
    """Return the process ids of a process's children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def measure(gateway: RunningGateway) -> dict[str, float]:
    """Return the memory of each process and the sum, MB."""
    [forker] = children(gateway.pid)
    found = {"control": pss(gateway.pid), "forker": pss(forker)}
    found |= {f"worker {number}": pss(worker) for number, worker in enumerate(children(forker))}
    return {**found, "all": sum(found.values())}


async def stream(gateway: RunningGateway, agent: AgentFiles, opening: asyncio.Semaphore) -> None:
    """Ask for one streamed answer and read it to its end."""
    body = json.dumps(
        {
            "model": MODEL,
            "stream": True,
            "ignore_eos": True,
            "max_tokens": 60,
            "messages": [{"role": "user", "content": "Hello"}],
        }
    ).encode()
    async with opening:
        reader, writer = await asyncio.open_connection("localhost", gateway.port, ssl=agent.tls())
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body) + body
    )
    while (data := await reader.read(65_536)) and b"[DONE]" not in data:
        pass
    writer.close()


async def during(gateway: RunningGateway, agent: AgentFiles, streams: int) -> dict[str, float]:
    """Hold streams and measure while they are under way."""
    opening = asyncio.Semaphore(HANDSHAKES)
    tasks = [asyncio.create_task(stream(gateway, agent, opening)) for _ in range(streams)]
    await asyncio.sleep(4)
    found = measure(gateway)
    await asyncio.gather(*tasks, return_exceptions=True)
    return found


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    server = [sys.executable, str(ROOT / "deploy" / "example_model" / "server.py"), "--port", "0", "--delay-ms", "20"]
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as backend, tempfile.TemporaryDirectory() as home:
        if backend.stdout is None:
            raise RuntimeError("the example model server has no output")
        url = ""
        while "http://" not in url:
            url = backend.stdout.readline()
        address = "http://" + url.split("http://")[1].split()[0].rstrip("/.,") + "/v1"
        gateway = RunningGateway(Path(home) / "home", address, [MODEL])
        gateway.edit_data("limits", {"quota": [{"name": "all", "scope": "agent", "requests_per_minute": 1_000_000}]})
        gateway.start()
        try:
            agent = gateway.register("agent/streams")
            rows = {"idle": measure(gateway)}
            rows[f"{options.streams} streams"] = asyncio.run(during(gateway, agent, options.streams))
            rows["afterwards"] = measure(gateway)
        finally:
            gateway.stop()
            backend.terminate()
    names = list(rows["idle"])
    print("| PSS, MB | " + " | ".join(names) + " |")
    print("| --- |" + " ---: |" * len(names))
    for when, found in rows.items():
        print(f"| {when} | " + " | ".join(f"{found[name]:.0f}" for name in names) + " |")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
