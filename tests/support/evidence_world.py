"""A small real log with an extraction of its own, packages made of it, and an auditor who verifies them."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.chain import Linked, link
from audit.event_id import uuid7
from audit.export.source import Source, open_source
from compliance.evaluation.result import Evaluation
from compliance.package import Facts, Output, Part
from compliance.package.building import Built, Request, build
from compliance.package.question import Question
from compliance.package.signing import fingerprint
from compliance.package.world import Progress, Surroundings
from compliance.period import Period, day_of
from compliance.populations.base import Column, Population, Row
from tests.support.audit_log import LogWorld, call

DAY_NS = 86_400_000_000_000
PERIOD = Period(date(2027, 1, 15), date(2027, 1, 16))

CALLS = Population(
    "calls",
    "Calls",
    "Each call.",
    (
        Column("outcome_leaf", "integer", "Leaf of its outcome."),
        Column("principal", "text", "Who called.", personal=True),
        Column("action", "text", "What was done."),
        Column("decision", "text", "What was decided."),
        Column("closed", "boolean", "It has an outcome."),
        Column("reasons", "list", "Why."),
    ),
    frozenset({"access.intent", "access.outcome", "access.denied", "quota.exceeded"}),
    per_system=True,
    daily=True,
)
STARTS = Population(
    "starts",
    "Starts",
    "Each start.",
    (Column("version", "text", "Version."),),
    frozenset({"gateway.started"}),
)
EMPTY = Population("grants", "Grants", "Each grant.", (Column("subject", "text", "Who."),), frozenset({"grant.made"}))


class TinyData:
    """An extraction of the three populations."""

    populations: Mapping[str, Population] = {each.name: each for each in (CALLS, STARTS, EMPTY)}

    def __init__(self, source: Source, period: Period) -> None:
        self._rows: dict[str, list[dict[str, Any]]] = {name: [] for name in self.populations}
        self._types: dict[str, int] = {}
        self._window = (0, 0)
        self._database = sqlite3.connect(":memory:")
        self._database.execute("CREATE TABLE calls (leaf INTEGER, outcome_leaf INTEGER)")
        seen = [leaf for leaf in source.leaves() if leaf.record is not None and period.contains(leaf.record.time_ns)]
        if seen:
            self._window = (seen[0].index, seen[-1].index + 1)
        intents: dict[str, dict[str, Any]] = {}
        for leaf in seen:
            assert leaf.record is not None
            document = orjson.loads(leaf.record.record)
            self._types[leaf.record.type] = self._types.get(leaf.record.type, 0) + 1
            base = {
                "leaf": leaf.index,
                "event_id": leaf.record.event_id,
                "time": leaf.record.time_ns,
                "day": day_of(leaf.record.time_ns),
                "system": document.get("system", ""),
            }
            match leaf.record.type:
                case "access.intent" | "access.denied":
                    intents[leaf.record.event_id] = base | {
                        "outcome_leaf": None,
                        "principal": document["principal"],
                        "action": document["action"],
                        "decision": document["decision"],
                        "closed": leaf.record.type == "access.denied",
                        "reasons": document["reasons"],
                    }
                case "access.outcome":
                    intents[document["intent"]] |= {"outcome_leaf": leaf.index, "closed": True}
                case "gateway.started":
                    self._rows["starts"].append(base | {"version": document["version"]})
        self._rows["calls"] = list(intents.values())
        self._database.executemany(
            "INSERT INTO calls VALUES (?, ?)", [(each["leaf"], each["outcome_leaf"]) for each in self._rows["calls"]]
        )

    def rows(self, population: str, system: str = "") -> Iterator[Row]:
        yield from (row for row in self._rows[population] if not system or row["system"] == system)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        return self._database.execute(sql).fetchall()

    def leaves_by_type(self) -> Mapping[str, int]:
        return self._types

    def window(self) -> tuple[int, int]:
        return self._window


@dataclass
class World:
    """The small log as a package sees it."""

    log: LogWorld
    commitments: Path
    key: Ed25519PrivateKey
    bundles: dict[str, bytes] = field(default_factory=dict)
    policies: tuple[Mapping[str, Any], ...] = ()
    stamped: bytes = b""
    make_data: Callable[[Source, Period], Any] = TinyData
    uncovered: tuple[tuple[str, str], ...] = ()

    def pseudonym_key(self, question_digest: str) -> bytes:
        return sha256(b"secret" + question_digest.encode()).digest()

    def source(self, note: bytes | None) -> Source:
        return open_source(self.log.store, self.log.tree, note)

    def extract(self, source: Source, database: Path, progress: Progress) -> Any:
        progress("extracting", 1, 1)
        return self.make_data(source, PERIOD)

    def evaluate(self, data: Any, source: Source) -> Evaluation:
        return Evaluation(PERIOD, "claims-triage", (), (), self.uncovered)

    def surroundings(self, data: Any) -> Surroundings:
        return Surroundings(
            "gateway",
            "operator:ada",
            register={"claims-triage": {"risk": "high"}},
            bundles={("r1", "d1"): next(iter(self.bundles), "")} if self.bundles else {},
            policies=self.policies,
            log_key=self.log.signer.verifier_key,
            versions={"govgateway": "1.0"},
        )

    def commit(self, fields: dict[str, Any]) -> Linked:
        writer = self.log.store.open_writer("govctl")
        self.log.now += 1_000_000_000
        fields = {"principal": "operator:ada", **fields}
        record = link(writer.head, self.log.store.log, "govctl", uuid7(), self.log.now, "evidence.committed", fields)
        writer.append([record])
        writer.close()
        return record

    def covering(self, record: Linked) -> bytes:
        return self.log.sequence()

    def records(self, kind: str) -> list[dict[str, Any]]:
        with self.log.store.reader("govctl") as reader:
            return [orjson.loads(each.record) for each in reader.records() if each.type == kind]

    def bundle(self, digest: str) -> bytes | None:
        return self.bundles.get(digest)

    def stamp(self, envelope: bytes) -> bytes:
        return self.stamped


def question(**changes: Any) -> Question:
    """Return what the packages here are asked for."""
    return Question(**{"log": "example.org/audit", "system": "claims-triage", "period": PERIOD,
                       "frameworks": ("eu-ai-act",), "samples": 8, **changes})  # fmt: skip


class Page:
    """A part that writes one page."""

    def write(self, facts: Facts, out: Output) -> None:
        out.write("index.html", "text/html", f"<h1>{facts.system}</h1>".encode())


def make(world: World, output: Path, seed: str = "lottery numbers of Saturday", **changes: Any) -> Built:
    """Make a package."""
    parts: list[Part] = changes.pop("parts", [Page()])
    options = {name: changes.pop(name) for name in ("anew", "since") if name in changes}
    request = Request(question(**changes), output, seed, **options)
    return build(request, world, parts, lambda _what, _done, _total: None)


def fill(log: LogWorld) -> None:
    """Write some days of records."""
    log.write("control", ("gateway.started", {"version": "1"}))
    log.calls("worker-0", 30)
    log.write("worker-1", *[("access.denied", {**call(number), "system": "other"}) for number in range(10)])
    log.write("worker-0", ("access.denied", call(1)))
    log.now += DAY_NS
    log.write("control", ("gateway.started", {"version": "2"}))
    log.calls("worker-0", 20)
    log.now += DAY_NS
    log.write("control", ("gateway.started", {"version": "3"}))
    log.sequence()


@dataclass(frozen=True)
class Found:
    code: int
    text: str

    @property
    def json(self) -> Any:
        return orjson.loads(self.text)


class Auditor:
    """Somebody with a package, the keys, and a verifier that can reach nothing of ours."""

    def __init__(self, package: Path, world: World) -> None:
        self.package = package
        self.world = world

    def __call__(self, *options: str, keys: bool = True, package: Path | None = None) -> Found:
        alone = self.package.parent / "verify_evidence.py"
        if not alone.exists():
            source = Path(__file__).resolve().parents[2] / "compliance" / "offline" / "verify_evidence.py"
            shutil.copy(source, alone)
        given = ["--evidence-key", fingerprint(self.world.key.public_key())]
        given += ["--log-key", self.world.log.signer.verifier_key]
        done = subprocess.run(
            [sys.executable, "-I", str(alone), str(package or self.package), *(given if keys else []), *options],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Found(done.returncode, done.stdout + done.stderr)
