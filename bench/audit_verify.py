"""How long it takes to verify, to prove and to find, on a log of a million records; and how many bytes a record takes.

    python bench/audit_verify.py [--records 1000000] [--directory DIR] [--processes 2]

Records are calls as the gateway writes them, an intent and its outcome each, in two chains. A DIR that holds such a log
already is used again.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.chain import Head, Linked, link
from audit.event_id import uuid7
from audit.export import ExportRequest, export_log
from audit.receipts import CHECKPOINT, prove
from audit.search import Query, search
from audit.search.index import size_on_disk
from audit.store import SqliteStore
from audit.tlog.note import Ed25519Signer, parse_verifier_key
from audit.tlog.tiles import DirectoryTiles
from audit.tree.sequencer import Sequencer
from audit.tree.state import TreeState
from audit.verification import verify_log

LOG = "example.org/audit"
KEY = b"k" * 32
CHAINS = ("worker-0", "worker-1")
BATCH = 5_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    if arguments.directory is not None:
        print(json.dumps(measure(arguments.directory, arguments.records, arguments.processes), indent=2))
        return
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(measure(Path(scratch), arguments.records, arguments.processes), indent=2))


def measure(directory: Path, records: int, processes: int) -> dict[str, Any]:
    """Return seconds, milliseconds and bytes."""
    store, tree = SqliteStore(directory, LOG), directory / "tree"
    signer = Ed25519Signer(LOG, Ed25519PrivateKey.from_private_bytes(KEY))
    keys = [parse_verifier_key(signer.verifier_key)]
    if not store.chains():
        write(store, records)
    found: dict[str, Any] = {"records": records, "processes": processes}
    found["sequence_s"] = seconds(lambda: sequence(store, tree, signer))
    found["verify_s"] = seconds(lambda: check(store, tree, keys, processes))
    with store.reader(CHAINS[0]) as reader:
        ids = [record.event_id for record in reader.last(BATCH)]
    picked = random.Random(1).sample(ids, 50)
    found["prove_ms"] = seconds(lambda: [prove(store, tree, each) for each in picked]) * 1000 / len(picked)
    found["index_s"] = seconds(lambda: search(directory, store, Query(limit=1)))
    for name, query in QUERIES.items():
        found[f"query_{name}_ms"] = seconds(lambda query=query: search(directory, store, query)) * 1000
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        export = Path(scratch) / "export"
        found["export_bundle_s"] = seconds(lambda: export_log(store, tree, ExportRequest("bundle", export)))
        command = [sys.executable, "-I", "verify_audit.py", "export", ".", "--key", signer.verifier_key]
        found["standalone_s"] = seconds(lambda: subprocess.run(command, cwd=export, check=True, capture_output=True))
    found["bytes_per_record"] = {
        "store": sum(path.stat().st_size for path in directory.glob("*.sqlite*")) / records,
        "tree": sum(path.stat().st_size for path in tree.rglob("*") if path.is_file()) / records,
        "index": size_on_disk(directory) / records,
    }
    return found


QUERIES = {
    "principal": Query(named=(("principal", "spiffe://example.org/agent/a7"),)),
    "denied": Query(named=(("decision", "deny"),)),
    "type_and_system": Query(types=("access.outcome",), named=(("system", "claims-triage"),)),
    "text": Query(text="needle"),
}


def write(store: SqliteStore, records: int) -> None:
    """Write so many records."""
    for chain in CHAINS:
        writer = store.open_writer(chain)
        batch: list[Linked] = []
        for record in linked(store.log, chain, records // len(CHAINS)):
            batch.append(record)
            if len(batch) == BATCH:
                writer.append(batch)
                batch = []
        if batch:
            writer.append(batch)
        writer.close()


def linked(log: str, chain: str, count: int) -> Iterator[Linked]:
    """Yield the records of a chain."""
    head, intent, now = Head(), "", 1_800_000_000 * 10**9
    for number in range(count):
        now += 1_000_000
        kind, fields = ("access.outcome", outcome(number, intent)) if number % 2 else ("access.intent", call(number))
        record = link(head, log, chain, uuid7(), now, kind, fields)
        head, intent = Head(record.sequence, record.hash), record.event_id
        yield record


def call(number: int) -> dict[str, Any]:
    """Return the fields of an intent."""
    principal = f"spiffe://example.org/agent/a{number // 2 % 500}"
    resource = {"type": "model", "id": "example-chat"}
    return {
        "principal": principal,
        "delegation": [],
        "action": "model.invoke",
        "resource": resource,
        "system": "claims-triage",
        "peer": {"serial": "0a" * 8, "fingerprint": "ab" * 32, "not_after": 1_900_000_000},
        "policy": {"revision": "2026-08-02", "data_digest": "cd" * 32},
        "input": {
            "principal": {"id": principal, "kind": "agent", "team": "claims", "owner": "alex", "status": "active"}
            | {"risk_tier": "limited", "roles": [], "break_glass": [], "delegation": [], "attributes": {}},
            "action": "model.invoke",
            "resource": {**resource, "system": "claims-triage", "risk": "limited", "region": "eu", "data_classes": []},
            "request": {"protocol": "openai", "stream": False, "max_tokens": 100, "tools": [], "data_classes": []},
            "context": {"region": "eu", "environment": "production"},
        },
        "decision": "deny" if number % 10_000 == 0 else "allow",
        "reasons": ["needle" if number % 100_000 == 0 else "team-may-use-model"],
        "obligations": [],
        "payload": {"bytes": 812, "digest": "ef" * 32},
        "quota": {"reserved_tokens": 100, "limits": [f"per-agent|{principal}"]},
        "trace_id": f"{number:032x}",
    }


def outcome(number: int, intent: str) -> dict[str, Any]:
    """Return the fields of an outcome."""
    return {
        "intent": intent,
        "principal": f"spiffe://example.org/agent/a{number // 2 % 500}",
        "delegation": [],
        "action": "model.invoke",
        "resource": {"type": "model", "id": "example-chat"},
        "system": "claims-triage",
        "result": "completed",
        "cause": "",
        "status": 200,
        "backend": "local",
        "usage": {"input_tokens": 10, "output_tokens": 5},
        "response": {"bytes": 512, "digest": "d" * 64},
        "trace_id": f"{number:032x}",
    }


def sequence(store: SqliteStore, tree: Path, signer: Ed25519Signer) -> None:
    """Take everything into the tree and sign it."""
    tiles = DirectoryTiles(tree)
    with TreeState(tree) as state:
        sequencer = Sequencer(store, state, tiles, [signer])
        while (step := sequencer.step()) is not None and step.more:
            pass
        tiles.write(CHECKPOINT, sequencer.sign()[1])


def check(store: SqliteStore, tree: Path, keys: list[Any], processes: int) -> None:
    """Verify, and fail if anything is wrong."""
    report = verify_log(store, tree, keys=keys, processes=processes)
    if not report.ok:
        raise SystemExit(f"the log is not good: {report.tree.findings[:3]} {[r.findings[:3] for r in report.chains]}")


def seconds(work: Any) -> float:
    """Return how long a call takes."""
    begin = time.perf_counter()
    work()
    return round(time.perf_counter() - begin, 3)


if __name__ == "__main__":
    main()
