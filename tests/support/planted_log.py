"""A log in which something is planted, and the populations that come of it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from audit.chain import Head, link
from audit.event_id import uuid7
from audit.export.source import open_source
from compliance.period import Period
from compliance.populations.base import Row
from compliance.populations.context import Context
from compliance.populations.dataset import Dataset
from compliance.populations.extraction import extract
from compliance.register import Register, load_register
from tests.support.audit_log import LogWorld

SECOND = 1_000_000_000
AGENT = "spiffe://example.org/agent/one"
DIGEST = "d" * 64

SYSTEM: dict[str, Any] = {
    "risk": "high",
    "annex_iii": "employment",
    "roles": ["deployer"],
    "owner": "people",
    "intended_purpose": "Sorts applications.",
    "purposes": ["model.infer"],
    "models": {"sorter": {"version": "1", "provider": "Example"}},
    "regions": ["eu"],
    "oversight": {
        "overseers": ["ada"],
        "training": [{"person": "ada", "reference": "T-1", "date": "2026-01-01", "valid_until": "2027-12-31"}],
    },
}


def at(text: str) -> int:
    """Return a moment such as `2027-03-01T12:00:00` (UTC) as UNIX nanoseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


def intent(**changed: Any) -> tuple[str, dict[str, Any]]:
    """Return an allowed call."""
    fields: dict[str, Any] = {
        "principal": AGENT,
        "delegation": [],
        "action": "model.infer",
        "resource": {"type": "model", "id": "sorter"},
        "operation": "chat.completions",
        "system": "hiring",
        "model": {"name": "sorter", "upstream": "sorter-v1"},
        "decision": "allow",
        "reasons": ["team_may"],
        "policy": {"revision": "r1", "data_digest": DIGEST},
        "policy_input": {
            "principal": {}, "action": "model.infer", "request": {"protocol": "openai"},
            "resource": {"region": "eu", "data_classes": ["personal"]}, "context": {"region": "eu"},
        },
        "request": {"bytes": 10, "digest": "a" * 64},
        "risk": {"agent": "low", "status": "active", "system": "high"},
        "peer": {"serial": "5e", "fingerprint": "f", "not_after": 1_900_000_000},
        "obligations": [],
        "quota": {"reserved_tokens": 1, "limits": []},
        "trace_id": "",
        **changed,
    }  # fmt: skip
    return "access.intent", fields


def outcome(of: str, **changed: Any) -> tuple[str, dict[str, Any]]:
    """Return what closes a call."""
    fields: dict[str, Any] = {
        "intent": of,
        "principal": AGENT,
        "system": "hiring",
        "result": "completed",
        "cause": "",
        "status": 200,
        "backend": "gpu",
        "usage": {"input_tokens": 3, "output_tokens": 4, "reported": True, "charged_tokens": 7},
        "response": {"bytes": 10, "digest": "b" * 64},
        **changed,
    }
    return "access.outcome", fields


class PlantedLog:
    """A log whose time is handed in."""

    def __init__(self, directory: Path) -> None:
        self.world = LogWorld(directory / "log")
        self._directory = directory

    def __enter__(self) -> "PlantedLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.world.__exit__()

    def write(self, when: str, chain: str, *events: tuple[str, Mapping[str, Any]]) -> list[str]:
        """Write records, a second apart from a moment on; return their event ids."""
        self.world.now = at(when) - SECOND
        return [each.event_id for each in self.world.write(chain, *[(kind, dict(fields)) for kind, fields in events])]

    def alive(self, *days: str) -> None:
        """Write, at the half of every hour of these days, a record of a gateway that runs."""
        writer = self.world.store.open_writer("control")
        head, batch = writer.head, []
        for moment in (at(f"{day}T{hour:02}:30:00") for day in days for hour in range(24)):
            batch.append(link(head, self.world.store.log, "control", uuid7(), moment, "gateway.hops", {"hops": []}))
            head = Head(batch[-1].sequence, batch[-1].hash)
        writer.append(batch)
        writer.close()

    def call(self, when: str, chain: str = "worker-0", **changed: Any) -> str:
        """Write a whole call; return its event id."""
        (of,) = self.write(when, chain, intent(**changed))
        self.world.write(chain, outcome(of))
        return of

    def populations(
        self,
        period: Period,
        register: Register | None = None,
        tables: Mapping[str, Any] | None = None,
        tables_of: Callable[[str], Mapping[str, Any] | None] | None = None,
    ) -> Dataset:
        """Sign the log and extract its populations."""
        self.world.sequence()
        source = open_source(self.world.store, self.world.tree)
        register = register or load_register({"systems": {"hiring": SYSTEM}})
        context = Context(register, tables_of or (lambda digest: tables if digest == DIGEST else None))
        return extract(source, period, self._directory / "populations.sqlite", context)


def only(rows: Sequence[Row]) -> Row:
    """Return the only row."""
    assert len(rows) == 1, rows
    return rows[0]
