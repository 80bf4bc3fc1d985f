"""The standalone verifier, alone in a directory: what it proves, and that it finds every change."""

import base64
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.canonical import canonical
from audit.export import ExportRequest, export_log
from audit.receipts import prove
from audit.tlog.note import CosignatureSigner, MlDsa44Signer, NoteSigner, SignatureLine, add_signature_lines, note_text
from tests.support.audit_log import LogWorld, call

NOW = 1_800_000_000


@dataclass(frozen=True)
class Verdict:
    code: int
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Bundle:
    """An export in a directory of its own, with a verifier that can reach nothing of ours."""

    def __init__(self, directory: Path, key: str) -> None:
        self.directory = directory
        self.key = key

    def __call__(self, *arguments: str, key: str | None = "", command: str = "export") -> Verdict:
        given = ["--key", key or self.key] if key is not None else []
        files = ["."] if command == "export" else []
        done = subprocess.run(
            [sys.executable, "-I", "verify_audit.py", command, *files, *arguments, *given],
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Verdict(done.returncode, done.stdout + done.stderr)

    @property
    def lines(self) -> list[bytes]:
        return (self.directory / "records.jsonl").read_bytes().splitlines(keepends=True)

    @lines.setter
    def lines(self, lines: list[bytes]) -> None:
        (self.directory / "records.jsonl").write_bytes(b"".join(lines))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogWorld]:
    with LogWorld(tmp_path_factory.mktemp("log") / "audit") as world:
        world.write("control", ("gateway.started", {"version": "1"}))
        world.calls("worker-0", 100)
        world.sequence()
        world.write("worker-0", ("access.intent", call(1)))
        world.write("control", ("gateway.started", {"version": "1"}), ("test.event", {"text": "Zoë\n\u2028😀"}))
        world.calls("worker-0", 60)
        world.sequence()
        yield world


@pytest.fixture(scope="module")
def made(log: LogWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("made") / "export"
    export_log(log.store, log.tree, ExportRequest("bundle", directory, verifier_keys=(log.signer.verifier_key,)))
    return directory


@pytest.fixture
def bundle(made: Path, log: LogWorld, tmp_path: Path) -> Bundle:
    shutil.copytree(made, tmp_path / "export")
    return Bundle(tmp_path / "export", log.signer.verifier_key)


def test_a_whole_export_is_proved(bundle: Bundle) -> None:
    verdict = bundle("--json")
    assert verdict.code == 0, verdict.text
    facts = verdict.json["facts"]
    assert (facts["records"], facts["size"], facts["missing"]) == (324, 324, 0)
    assert facts["chains"]["worker-0"]["links"] == 321
    assert facts["chains"]["worker-0"]["calls_explained"] == 1
    assert any("none is missing" in text for text in verdict.json["proved"])


def test_it_says_in_words_what_it_proved_and_what_not(bundle: Bundle) -> None:
    verdict = bundle()
    assert verdict.code == 0
    assert "324 records are, byte by byte, those that were signed" in verdict.text
    assert "Not proved:" in verdict.text
    assert "what a record says is true" in verdict.text
    assert "cosignatures of witnesses were not looked at" in verdict.text


def test_without_a_key_nobody_vouches_for_it(bundle: Bundle) -> None:
    verdict = bundle(key=None)
    assert verdict.code == 3
    assert "who made this log" in verdict.text


def test_the_key_that_lies_beside_the_export_is_not_taken_by_itself(bundle: Bundle, log: LogWorld) -> None:
    """A forged export carries the forger's key; only the key from elsewhere tells."""
    with LogWorld(bundle.directory.parent / "forged") as forged:
        forged.calls("worker-0", 3)
        forged.sequence()
        directory = bundle.directory.parent / "forged-export"
        keys = (forged.signer.verifier_key,)
        export_log(forged.store, forged.tree, ExportRequest("bundle", directory, verifier_keys=keys))
    verdict = Bundle(directory, log.signer.verifier_key)()
    assert verdict.code == 1
    assert "not signed by the key that you gave" in verdict.text


def test_a_log_signed_anew_with_the_stolen_key_does_not_continue_a_kept_checkpoint(
    bundle: Bundle, log: LogWorld, tmp_path: Path
) -> None:
    (tmp_path / "kept").write_bytes((bundle.directory / "checkpoint").read_bytes())
    with LogWorld(tmp_path / "forged", log.signer._private_key) as forged:
        forged.calls("worker-0", 300)
        forged.sequence()
        export_log(forged.store, forged.tree, ExportRequest("bundle", tmp_path / "forged-export"))
    verdict = Bundle(tmp_path / "forged-export", bundle.key)
    assert verdict().code == 0
    assert "written anew" in verdict("--since", str(tmp_path / "kept")).text
    assert verdict("--since", str(tmp_path / "kept")).code == 1


def test_a_kept_checkpoint_is_continued(bundle: Bundle, log: LogWorld, tmp_path: Path) -> None:
    with LogWorld(tmp_path / "audit", log.signer._private_key) as world:
        world.calls("worker-0", 10)
        (tmp_path / "kept").write_bytes(world.sequence())
        world.calls("worker-0", 10)
        world.sequence()
        export_log(world.store, world.tree, ExportRequest("bundle", tmp_path / "later"))
    verdict = Bundle(tmp_path / "later", bundle.key)("--since", str(tmp_path / "kept"))
    assert verdict.code == 0, verdict.text
    assert "continues your checkpoint" in verdict.text


def edit(line: bytes, **fields: Any) -> bytes:
    index, _, rest = line.partition(b',"record":')
    document = orjson.loads(rest.rstrip(b"\n")[:-1]) | fields
    return index + b',"record":' + canonical(document) + b"}\n"


CHANGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "a field changed": lambda r: [*r[:50], edit(r[50], principal="spiffe://example.org/agent/other"), *r[51:]],
    "a field added": lambda r: [*r[:50], edit(r[50], added=1), *r[51:]],
    "a byte changed": lambda r: [*r[:50], r[50].replace(b"example", b"exbmple", 1), *r[51:]],
    "a record removed": lambda r: [*r[:50], *r[51:]],
    "the first removed": lambda r: r[1:],
    "the last removed": lambda r: r[:-1],
    "the tail cut": lambda r: r[:200],
    "a record twice": lambda r: [*r[:50], r[50], *r[50:]],
    "two exchanged": lambda r: [*r[:50], r[51], r[50], *r[52:]],
    "two exchanged with their places": lambda r: [
        *r[:50],
        r[50].split(b",", 1)[0] + b"," + r[51].split(b",", 1)[1],
        r[51].split(b",", 1)[0] + b"," + r[50].split(b",", 1)[1],
        *r[52:],
    ],
    "a record put in": lambda r: [*r, b'{"index":324,' + r[-1].split(b",", 1)[1]],
    "a line of something else": lambda r: [*r[:50], b"{}\n", *r[50:]],
    "a name twice": lambda r: [*r[:50], r[50].replace(b'"record":{', b'"record":{"action":"x",', 1), *r[51:]],
    "spaces": lambda r: [*r[:50], r[50].replace(b'":', b'": ', 3), *r[51:]],
    "all removed": lambda _: [],
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_the_records_is_found(bundle: Bundle, change: str) -> None:
    bundle.lines = CHANGES[change](bundle.lines)
    verdict = bundle()
    assert verdict.code == 1, verdict.text
    assert "WRONG:" in verdict.text


@pytest.mark.parametrize("change", [name for name in CHANGES if "removed" not in name and name != "the tail cut"])
def test_an_excerpt_may_lack_records_and_nothing_else(bundle: Bundle, change: str) -> None:
    bundle.lines = CHANGES[change](bundle.lines)
    assert bundle("--excerpt").code == 1


def test_an_excerpt_is_proved_as_one(bundle: Bundle) -> None:
    bundle.lines = bundle.lines[100:150]
    verdict = bundle("--excerpt")
    assert verdict.code == 0, verdict.text
    assert "what 274 further records of the tree say: this is an excerpt" in verdict.text


@pytest.mark.parametrize("path", ["tile/0/000", "tile/0/001.p/68", "tile/1/000.p/1"])
@pytest.mark.parametrize("how", ["changed", "cut", "removed"])
def test_every_change_of_the_tiles_is_found(bundle: Bundle, path: str, how: str) -> None:
    tile = bundle.directory / path
    data = bytearray(tile.read_bytes())
    data[5] ^= 1
    tile.unlink() if how == "removed" else tile.write_bytes(data if how == "changed" else data[:-1])
    assert bundle().code == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\n324\n", b"\n323\n"),
        (b"\n324\n", b"\n0324\n"),
        (b"example.org/audit\n324", b"example.org/other\n324"),
        (b"chain control 3 ", b"chain control 2 "),
        (b"chain control", b"chain kontrol"),
        (b"\n\n", b"\n"),
        (b"\xe2\x80\x94 example.org", b"- example.org"),
    ],
)
def test_every_change_of_the_checkpoint_is_found(bundle: Bundle, old: bytes, new: bytes) -> None:
    path = bundle.directory / "checkpoint"
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    assert bundle().code == 1


def test_a_changed_signature_is_found(bundle: Bundle) -> None:
    path = bundle.directory / "checkpoint"
    head, _, signature = path.read_bytes().rstrip(b"\n").rpartition(b" ")
    raw = bytearray(base64.b64decode(signature))
    raw[-1] ^= 1
    path.write_bytes(head + b" " + base64.b64encode(raw) + b"\n")
    verdict = bundle()
    assert verdict.code == 1
    assert "does not verify" in verdict.text


@pytest.mark.parametrize("name", ["checkpoint", "records.jsonl"])
def test_a_missing_part_is_named(bundle: Bundle, name: str) -> None:
    (bundle.directory / name).unlink()
    verdict = bundle()
    assert verdict.code == 1
    assert f"{name} is missing" in verdict.text


def test_what_it_does_not_check_is_named(bundle: Bundle) -> None:
    (bundle.directory / "checkpoint.tsr").write_bytes(b"")
    (bundle.directory / "more").write_bytes(b"")
    verdict = bundle()
    assert verdict.code == 0
    assert "openssl ts -verify" in verdict.text
    assert "the file more, which this verifier does not know" in verdict.text


@pytest.mark.parametrize("key", ["nonsense", "example.org/audit+00000000+AQ==", "a+b"])
def test_a_key_that_is_none_is_wrong_use(bundle: Bundle, key: str) -> None:
    assert bundle(key=key).code in (1, 2)
    assert "OK" not in bundle(key=key).text.split("\n")


def test_a_receipt_that_is_not_there_is_named(bundle: Bundle) -> None:
    verdict = bundle("elsewhere", command="receipt")
    assert verdict.code == 1
    assert "elsewhere is missing" in verdict.text


class TestWitnesses:
    @pytest.fixture
    def cosigners(self) -> list[NoteSigner]:
        keys = [Ed25519PrivateKey.generate() for _ in range(2)]
        ours: list[NoteSigner] = [CosignatureSigner(f"w{n}.example", key, lambda: NOW) for n, key in enumerate(keys)]
        return [*ours, MlDsa44Signer("w2.example", MLDSA44PrivateKey.generate(), lambda: NOW)]

    def cosign(self, bundle: Bundle, *signers: NoteSigner) -> None:
        path = bundle.directory / "checkpoint"
        note = path.read_bytes()
        lines = [str(SignatureLine(s.name, s.key_id, s.sign(note_text(note)))) for s in signers]
        path.write_bytes(add_signature_lines(note, lines))

    def given(self, signers: list[NoteSigner], quorum: int) -> list[str]:
        return [*(f"--witness={signer.verifier_key}" for signer in signers), f"--quorum={quorum}"]

    def test_a_quorum_is_met_or_not(self, bundle: Bundle, cosigners: list[NoteSigner]) -> None:
        self.cosign(bundle, cosigners[0], cosigners[2])
        verdict = bundle(*self.given(cosigners, 2))
        assert verdict.code == 0, verdict.text
        assert "w2.example saw this tree" in verdict.text
        assert "2027-01-15" in verdict.text
        assert bundle(*self.given(cosigners, 3)).code == 1

    def test_a_changed_cosignature_is_found(self, bundle: Bundle, cosigners: list[NoteSigner]) -> None:
        self.cosign(bundle, cosigners[0])
        text = (bundle.directory / "checkpoint").read_text()
        head, _, signature = text.rstrip("\n").rpartition(" ")
        raw = bytearray(base64.b64decode(signature))
        raw[8] ^= 1  # its time
        (bundle.directory / "checkpoint").write_text(f"{head} {base64.b64encode(raw).decode()}\n")
        assert bundle(*self.given(cosigners[:1], 1)).code == 1

    def test_a_policy_with_groups(self, bundle: Bundle, cosigners: list[NoteSigner]) -> None:
        lines = [f"witness w{n} {signer.verifier_key}" for n, signer in enumerate(cosigners)]
        lines += ["# two rooms", "group left any w0 w1", "group both all left w2", "quorum both", ""]
        (bundle.directory.parent / "policy").write_text("\n".join(lines))
        self.cosign(bundle, cosigners[1])
        assert bundle("--policy", "../policy").code == 1
        self.cosign(bundle, cosigners[2])
        assert bundle("--policy", "../policy").code == 0

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "quorum w0\n",
            "group g 2 w0\nquorum g\n",
            "group g ² w0\nquorum g\n",
            "quorum none\nquorum none\n",
            "x\n",
        ],
    )
    def test_a_malformed_policy_is_wrong_use(self, bundle: Bundle, text: str) -> None:
        (bundle.directory.parent / "policy").write_text(text)
        assert bundle("--policy", "../policy").code == 2


class TestReceipts:
    @pytest.fixture
    def receipt(self, bundle: Bundle, log: LogWorld) -> Bundle:
        with log.store.reader("worker-0") as reader:
            event_id = reader.last(7)[0].event_id
        found = prove(log.store, log.tree, event_id)
        assert found is not None
        (bundle.directory / "record").write_bytes(found.record.record)
        (bundle.directory / "proof").write_bytes(found.proof)
        document = {"record": found.record.record.decode(), "proof": found.proof.decode()}
        (bundle.directory / "receipt.json").write_text(json.dumps(document))
        return bundle

    @pytest.mark.parametrize("files", [("record", "proof"), ("receipt.json",)])
    def test_a_receipt_is_proved(self, receipt: Bundle, files: tuple[str, ...]) -> None:
        verdict = receipt(*files, command="receipt")
        assert verdict.code == 0, verdict.text
        assert "byte by byte" in verdict.text

    @pytest.mark.parametrize(
        ("name", "old", "new"),
        [
            ("record", b"claims-triage", b"claims-triagf"),
            ("proof", b"index 317", b"index 316"),
            ("proof", b"index 317", b"index 400"),
            ("proof", b"\n324\n", b"\n325\n"),
            ("proof", b"tlog-proof@v1", b"tlog-proof@v2"),
        ],
    )
    def test_every_change_is_found(self, receipt: Bundle, name: str, old: bytes, new: bytes) -> None:
        path = receipt.directory / name
        assert old in path.read_bytes(), path.read_bytes()
        path.write_bytes(path.read_bytes().replace(old, new))
        assert receipt("record", "proof", command="receipt").code == 1

    def test_the_receipt_of_another_log_is_refused(self, receipt: Bundle, tmp_path: Path) -> None:
        with LogWorld(tmp_path / "other") as other:
            assert receipt("record", "proof", command="receipt", key=other.signer.verifier_key).code == 1


def test_a_beginning_that_was_deleted_is_named_and_its_hashes_checked(tmp_path: Path) -> None:
    with LogWorld(tmp_path / "audit") as world:
        world.calls("worker-0", 20)
        sealed = world.sequence()
        root = base64.b64decode(sealed.split(b"\n")[2]).hex()
        fields = {"principal": "operator:alex", "segment": "1", "start": 0, "end": 40, "root": root, "records": 40}
        world.write("govctl", ("log.segment_deleted", {**fields, "cause": "a rule"}))
        world.calls("worker-0", 5)
        world.sequence()
        world.change("worker-0", "DELETE FROM records WHERE seq < 40")
        export_log(world.store, world.tree, ExportRequest("bundle", tmp_path / "export", sealed=sealed))
        bundle = Bundle(tmp_path / "export", world.signer.verifier_key)
        verdict = bundle()
        assert verdict.code == 0, verdict.text
        assert "what 40 records said that retention deleted" in verdict.text
        (bundle.directory / "sealed-checkpoint").unlink()
        assert bundle().code == 1


def test_records_that_are_gone_without_a_record_of_it_are_found(tmp_path: Path) -> None:
    with LogWorld(tmp_path / "audit") as world:
        world.calls("worker-0", 20)
        sealed = world.sequence()
        world.calls("worker-0", 5)
        world.sequence()
        world.change("worker-0", "DELETE FROM records WHERE seq < 40")
        export_log(world.store, world.tree, ExportRequest("bundle", tmp_path / "export", sealed=sealed))
        verdict = Bundle(tmp_path / "export", world.signer.verifier_key)()
        assert verdict.code == 1
        assert "no record in the export says that they were deleted" in verdict.text


@pytest.fixture(scope="module")
def verifier(made: Path) -> Callable[[list[str]], int]:
    spec = importlib.util.spec_from_file_location("verify_audit_copied", made / "verify_audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main  # type: ignore[no-any-return]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["records.jsonl", "checkpoint", "tile/0/000", "tile/0/001.p/68", "tile/1/000.p/1"]),
    where=st.integers(0, 2**31),
    bit=st.integers(0, 7),
)
def test_no_bit_can_be_changed_anywhere(
    made: Path,
    log: LogWorld,
    verifier: Callable[[list[str]], int],
    capsys: pytest.CaptureFixture[str],
    name: str,
    where: int,
    bit: int,
) -> None:
    path = made / name
    before = path.read_bytes()
    changed = bytearray(before)
    changed[where % len(before)] ^= 1 << bit
    path.write_bytes(changed)
    try:
        assert verifier(["export", str(made), "--key", log.signer.verifier_key]) == 1
    finally:
        path.write_bytes(before)
        capsys.readouterr()
