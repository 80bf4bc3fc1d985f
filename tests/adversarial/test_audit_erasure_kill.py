"""Erasing and deleting processes, killed at moments spread over their work: what they began is finished, once, and nothing is left."""

import json
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.chain import link
from audit.event_id import uuid7
from audit.retention import Journal
from audit.sealing import Content, EmbeddedKeyWrapper, Sealer, SqlContentStore, open_sqlite, subkey
from audit.store import SqliteStore
from audit.tlog.checkpoint import Checkpoint
from audit.tlog.note import Ed25519Signer, sign_note

LOG = "example.org/audit"
ROOT = Path(__file__).parents[2]

RECORDS = """
import json, os, sys, time
from pathlib import Path
directory = Path(sys.argv[1])
def record(kind, fields):
    with (directory / "told").open("a") as file:
        file.write(json.dumps([kind, fields]) + "\\n")
        file.flush()
        os.fsync(file.fileno())
"""

ERASE = f"""{RECORDS}
from audit.sealing import *
key = bytes.fromhex(sys.argv[2])
store = SqlContentStore(open_sqlite(directory / "content"), "{LOG}")
sealer = Sealer(store, EmbeddedKeyWrapper(key, "content"), subkey(key, "pseudonyms"), time.time_ns)
erasure = Erasure(sealer, record, time.time_ns, lambda calls: "")
print("ready", flush=True)
erasure.erase("subject", "ada", "dpo", "asked to")
"""

DELETE = f"""{RECORDS}
from audit.retention import *
from audit.store import SqliteStore
from audit.tlog.checkpoint import parse_checkpoint
from audit.tlog.note import open_note, parse_verifier_key
store = SqliteStore(directory / "audit", "{LOG}")
keys = [parse_verifier_key(sys.argv[2])]
opened = lambda note: parse_checkpoint(open_note(note, keys).text)
planner = Planner(store, RetentionRules(), opened, dict, time.time_ns)
keeper = Keeper(Journal(directory / "retention", "{LOG}", time.time_ns), planner, store, record, lambda: ())
if len(sys.argv) > 3:
    keeper.seal(Path(sys.argv[3]).read_bytes(), "operator:anna")
else:
    print("ready", flush=True)
    keeper.apply("operator:anna")
"""


def run(program: str, *arguments: str, kill_after: float | None = None) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    if kill_after is not None:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(kill_after)
        process.send_signal(signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert kill_after is not None or process.returncode == 0, errors.decode()


def told(directory: Path, kind: str) -> list[dict[str, Any]]:
    lines = (directory / "told").read_text().splitlines()
    return [fields for each, fields in map(json.loads, lines) if each == kind]


def test_an_erasure_killed_at_any_moment_is_finished_and_leaves_no_key_behind(tmp_path: Path) -> None:
    for number in range(10):
        directory, key = tmp_path / str(number), secrets.token_bytes(32)
        engine = open_sqlite(directory / "content")
        store = SqlContentStore(engine, LOG)
        sealer = Sealer(store, EmbeddedKeyWrapper(key, "content"), subkey(key, "pseudonyms"), time.time_ns)
        events = [uuid7() for _ in range(50)]
        sealer.seal([Content(each, "request", "ada", "", b"x" * 5000) for each in events])
        items = [item for each in events if (item := store.item(each, "request")) is not None]
        wrapped = store.keys([items[0].key_id])[items[0].key_id].wrapped
        engine.dispose()

        run(ERASE, str(directory), key.hex(), kill_after=number * 0.006)
        run(ERASE, str(directory), key.hex())

        assert len({fields["erasure"] for fields in told(directory, "content.erased")}) == 1
        left = b"".join(path.read_bytes() for path in (directory / "content").iterdir())
        assert wrapped not in left
        assert not any(item.seed in left or item.blob[:100] in left for item in items)


def test_a_deletion_killed_at_any_moment_is_finished_and_the_rest_still_hangs_together(tmp_path: Path) -> None:
    signer = Ed25519Signer(LOG, Ed25519PrivateKey.generate())
    then = time.time_ns() - 500 * 86_400_000_000_000
    for number in range(8):
        directory = tmp_path / str(number)
        store = SqliteStore(directory / "audit", LOG)
        writer = store.open_writer("worker-0")
        for _ in range(3):
            batch, head = [], writer.head
            for _ in range(3000):
                batch.append(link(head, LOG, "worker-0", uuid7(), then, "test.event", {"text": "x" * 100}))
                head = type(head)(batch[-1].sequence, batch[-1].hash)
            writer.append(batch)
            lines = (f"chain worker-0 {head.sequence + 1} {head.hash}",)
            note = sign_note(Checkpoint(LOG, head.sequence + 1, bytes(32), lines).to_text(), [signer])
            (directory / "note").write_bytes(note)
            run(DELETE, str(directory), signer.verifier_key, str(directory / "note"))
        writer.append([link(writer.head, LOG, "worker-0", uuid7(), then, "test.event", {})])
        writer.close()

        run(DELETE, str(directory), signer.verifier_key, kill_after=number * 0.06)
        run(DELETE, str(directory), signer.verifier_key)

        deleted = [fields["segment"] for fields in told(directory, "log.segment_deleted")]
        assert sorted(set(deleted)) == ["1", "2", "3"]
        book = Journal(directory / "retention", LOG, time.time_ns).read()
        assert (book.deleted, book.begun) == (3, 0)
        before, _ = book.beginning("worker-0")
        with store.reader("worker-0") as reader:
            kept = list(reader.records())
        assert [record.sequence for record in kept] == [9000]
        assert f'"prev":"{before.hash}"'.encode() in kept[0].record
