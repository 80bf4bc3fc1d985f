"""Calls through a running gateway, and what they left behind."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml
from openai import DefaultHttpxClient, OpenAI

from audit.store import SqliteStore
from gateway.app import read_ledger
from gateway.config import load_config
from gateway.quota.limits import LimitTable
from tests.support.running_gateway import AgentFiles, RunningGateway

PATIENCE = 15.0
"""How long a test waits for what must happen (seconds)."""

T = TypeVar("T")


def eventually(what: str, look: Callable[[], T], seconds: float = PATIENCE) -> T:
    """Return the first true value of `look`; fail with `what` if none comes in time."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"it did not happen: {what}"
        time.sleep(0.05)
    return found


@contextlib.contextmanager
def sdk(gateway: RunningGateway, agent: AgentFiles, **options: Any) -> Iterator[OpenAI]:
    """Yield the official client as `agent`; it repeats nothing by itself."""
    transport = DefaultHttpxClient(verify=agent.tls(), trust_env=False)
    with OpenAI(
        **{"base_url": gateway.base_url, "api_key": "none", "max_retries": 0, "http_client": transport, **options}
    ) as client:
        yield client


def plain(gateway: RunningGateway, agent: AgentFiles, **options: Any) -> httpx.Client:
    """Return an HTTP client of the data plane as `agent`."""
    return httpx.Client(
        base_url=f"https://localhost:{gateway.port}", verify=agent.tls(), trust_env=False, timeout=PATIENCE, **options
    )


def chat(model: str = "example-chat", **more: Any) -> dict[str, Any]:
    """Return the body of a chat completion."""
    return {"model": model, "messages": [{"role": "user", "content": "Hello there"}], "max_tokens": 16, **more}


def records(gateway: RunningGateway, count: int = 200) -> list[dict[str, Any]]:
    """Return the last records of every chain, oldest first; faster than govctl."""
    store = SqliteStore(gateway.directory / "state" / "audit", "example.org/audit")
    found = []
    for chain in store.chains():
        with store.reader(chain) as reader:
            found += reader.last(count)
    return [json.loads(record.record) for record in sorted(found, key=lambda r: (r.time_ns, r.event_id))]


def recorded(gateway: RunningGateway, record_type: str, **fields: Any) -> dict[str, Any]:
    """Wait for a record of this type with these fields and return the latest one."""

    def look() -> dict[str, Any] | None:
        for entry in reversed(records(gateway)):
            if entry["type"] == record_type and all(entry.get(name) == value for name, value in fields.items()):
                return entry
        return None

    return eventually(f"a record {record_type} with {fields}", look)


def outcome(gateway: RunningGateway, request_id: str) -> dict[str, Any]:
    """Wait for the outcome of the call that had this request id."""
    return recorded(gateway, "access.outcome", intent=request_id)


def used(gateway: RunningGateway, agent: AgentFiles, name: str, team: str = "research") -> int:
    """Return the units used, or held, of the limit `name` as the ledger has them now."""
    config = load_config(gateway.config_path)
    data = yaml.safe_load((config.policy.directory / "govgateway" / "limits" / "data.yaml").read_text())
    limits = LimitTable.from_data(data["quota"]).for_principal(agent.id, team, "agent")
    ledger = read_ledger(config)
    try:
        standings = asyncio.run(ledger.standings(limits))
    finally:
        ledger.close()
    return next(s.limit.amount - s.remaining for s in standings if s.limit.name == name)


def metric(gateway: RunningGateway, name: str) -> float:
    """Return the value of one sample, named with its labels as in the text format; 0 where it is missing."""
    for line in gateway.metrics().splitlines():
        if line.startswith(name + " "):
            return float(line.rsplit(" ", 1)[1])
    return 0.0


def files_with(directory: Path, *texts: str) -> list[Path]:
    """Return the files below a directory that have one of the texts; those that a process removes meanwhile have not."""
    found = []
    for path in directory.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and any(text.encode() in path.read_bytes() for text in texts):
                found.append(path)
    return found
