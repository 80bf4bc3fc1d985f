"""How long a package of evidence takes, and its verification, on a log of a million records.

    python bench/evidence.py [--records 1000000] [--directory DIR]

Records are calls as `bench/audit_verify.py` writes them. The package has every population, all frameworks, samples,
proofs, report, OSCAL and documents; the verifier is the file in the package, in a process of its own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.chain import Linked, link
from audit.event_id import uuid7
from audit.export.source import Source, open_source
from audit.store import SqliteStore
from audit.tlog.note import Ed25519Signer
from compliance.catalogue.loading import load_catalogue
from compliance.evaluation.evaluating import evaluate
from compliance.evaluation.result import Evaluation
from compliance.package.building import Request, build
from compliance.package.facts import Data
from compliance.package.question import Question
from compliance.package.signing import fingerprint
from compliance.package.world import Progress, Surroundings
from compliance.period import Period
from compliance.populations.context import Context
from compliance.populations.dataset import Dataset
from compliance.populations.extraction import extract
from compliance.populations.registry import POPULATIONS
from compliance.register import load_register
from gateway.evidence_parts import PARTS

sys.path.insert(0, str(Path(__file__).parents[1]))
from bench.audit_verify import KEY, LOG, sequence, write

PERIOD = Period(date(2027, 1, 15), date(2027, 1, 15))
SEED = "a number that nobody here could guess"
REGISTER = {
    "systems": {
        "claims-triage": {
            "risk": "high", "roles": ["provider", "deployer"], "data_classes": ["personal"],
            "models": {"example-chat": {"version": "1", "provider": "bench"}},
        }
    }
}  # fmt: skip


class World:
    """The log as a package sees it (`compliance.package.world.World`)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = SqliteStore(directory, LOG)
        self.tree = directory / "tree"
        self.signer = Ed25519Signer(LOG, Ed25519PrivateKey.from_private_bytes(KEY))
        self.key = Ed25519PrivateKey.generate()
        self.commitments = directory / "evidence" / sha256(self.key.public_key().public_bytes_raw()).hexdigest()
        self.register = load_register(REGISTER)
        self.spent: dict[str, float] = {}

    def pseudonym_key(self, question_digest: str) -> bytes:
        return sha256(question_digest.encode()).digest()

    def source(self, note: bytes | None) -> Source:
        return open_source(self.store, self.tree, note)

    def extract(self, source: Source, database: Path, progress: Progress) -> Data:
        context = Context(self.register)

        def told(done: int, of: int) -> None:
            progress("reading the log", done, of)

        return self.timed("extract_s", lambda: extract(source, PERIOD, database, context, told))

    def evaluate(self, data: Data, _source: Source) -> Evaluation:
        if not isinstance(data, Dataset):
            raise TypeError("the populations are not an extraction")
        frameworks = load_catalogue([], POPULATIONS).chosen([])
        return self.timed("evaluate_s", lambda: evaluate(data, frameworks, self.register, PERIOD, "", ()))

    def surroundings(self, _data: Data) -> Surroundings:
        return Surroundings("bench", "operator:bench", register=REGISTER["systems"], versions={"govgateway": "bench"})

    def commit(self, fields: dict[str, Any]) -> Linked:
        return self.write("govctl", "evidence.committed", time.time_ns(), {"principal": "operator:bench", **fields})

    def write(self, chain: str, record_type: str, time_ns: int, fields: dict[str, Any]) -> Linked:
        writer = self.store.open_writer(chain)
        record = link(writer.head, LOG, chain, uuid7(), time_ns, record_type, fields)
        writer.append([record])
        writer.close()
        return record

    def covering(self, _record: Linked) -> bytes:
        sequence(self.store, self.tree, self.signer)
        return self.source(None).note

    def bundle(self, _digest: str) -> bytes | None:
        return None

    def stamp(self, _envelope: bytes) -> bytes:
        return b""

    def timed(self, name: str, work: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        done = work()
        self.spent[name] = time.perf_counter() - begun
        return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--directory", type=Path)
    arguments = parser.parse_args()
    if arguments.directory is not None:
        print(json.dumps(measure(arguments.directory, arguments.records), indent=2))
        return
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(measure(Path(scratch), arguments.records), indent=2))


def measure(directory: Path, records: int) -> dict[str, Any]:
    """Return seconds and bytes."""
    world = World(directory)
    if not world.store.chains():
        world.write("control", "gateway.started", 1_800_000_000 * 10**9, {"version": "bench", "workers": 2})
        write(world.store, records)
        sequence(world.store, world.tree, world.signer)
    question = Question(LOG, "", PERIOD, ("eu-ai-act", "gdpr", "soc2"))
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        output = Path(scratch) / "package"
        request = Request(question, output, SEED)
        built = world.timed("export_s", lambda: build(request, world, PARTS, lambda _what, _done, _of: None))
        key = fingerprint(world.key.public_key())
        command = [
            sys.executable, "-I", str(output / "verify_evidence.py"), str(output), "--evidence-key", key, "--log-key",
            world.signer.verifier_key, "--seed", SEED,
        ]  # fmt: skip
        world.timed("verify_s", lambda: subprocess.run(command, check=True, capture_output=True))
        return {"records": records, **world.spent, "files": built.files, "bytes": built.size}


if __name__ == "__main__":
    main()
