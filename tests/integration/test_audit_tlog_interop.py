"""The audit log's tree, judged by the reference libraries of C2SP (Go) and by aics-tlog, and what Go makes by ours."""

import json
import os
import random
import subprocess
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.export import ExportRequest, export_log
from audit.receipts import prove
from audit.tlog.checkpoint import parse_checkpoint
from audit.tlog.errors import NoteError, ProofError
from audit.tlog.merkle import leaf_hash, verify_consistency, verify_inclusion
from audit.tlog.note import CosignatureSigner, add_signature_lines, note_text, open_note, parse_note, parse_verifier_key
from audit.tlog.note import sign_note as signed
from audit.tlog.proof import parse_proof, verify_proof
from audit.tlog.tiles import DirectoryTiles, TileTree
from tests.support.audit_log import ORIGIN, LogWorld

pytestmark = pytest.mark.interop

PROGRAM = Path(__file__).resolve().parents[2] / ".interop" / "bin" / "tlog-interop"
WITNESS = CosignatureSigner("witness.example/w", Ed25519PrivateKey.generate(), lambda: int(time.time()))


def go(*arguments: object, lines: str = "") -> "subprocess.CompletedProcess[str]":
    assert PROGRAM.exists(), "run deploy/interop.sh"
    return subprocess.run(
        [PROGRAM, *map(str, arguments)], input=lines, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogWorld]:
    """A log of two chains and some hundred records, cosigned."""
    with LogWorld(tmp_path_factory.mktemp("log")) as made:
        made.calls("worker-0", 100)
        made.sequence()
        made.calls("worker-1", 150)
        made.calls("worker-0", 50)
        note = made.sequence()
        line = str(parse_note(signed(note_text(note), [WITNESS]))[1][0])
        DirectoryTiles(made.tree).write("checkpoint", add_signature_lines(note, [line]))
        yield made


@pytest.fixture(scope="module")
def exported(world: LogWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log in the form of tlog-tiles, with its entries."""
    directory = tmp_path_factory.mktemp("export") / "tiles"
    export_log(world.store, world.tree, ExportRequest("tiles", directory))
    return directory


@pytest.fixture(scope="module")
def policy(world: LogWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "policy"
    path.write_text(f"log {world.signer.verifier_key}\nwitness w {WITNESS.verifier_key}\nquorum w\n")
    return path


def test_every_entry_leaf_tile_and_signature_is_good_and_both_make_the_same_proofs(world, exported, policy):
    done = go("log", exported, policy)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    checkpoint = parse_checkpoint(note_text((world.tree / "checkpoint").read_bytes()))
    assert (said["origin"], said["size"], b64decode(said["root"])) == (ORIGIN, 600, checkpoint.root)
    assert sorted(said["signers"]) == sorted([ORIGIN, WITNESS.name])
    tree = TileTree(DirectoryTiles(world.tree), said["size"])
    assert len(said["inclusion"]) == 600
    for each in said["inclusion"]:
        proof = [b64decode(text) for text in each["proof"] or []]
        assert proof == tree.inclusion_proof(each["index"], 600)
        verify_inclusion(tree.leaf(each["index"]), each["index"], 600, proof, checkpoint.root)
    for each in said["consistency"]:
        proof = [b64decode(text) for text in each["proof"] or []]
        assert proof == tree.consistency_proof(each["old"], 600)
        verify_consistency(each["old"], 600, proof, tree.root(each["old"]), checkpoint.root)


def test_our_proofs_between_all_sizes_are_good_and_changed_ones_are_not(world):
    tree = TileTree(DirectoryTiles(world.tree), 600)
    chance = random.Random(5)  # noqa: S311 - not a secret
    claims = []
    for _ in range(400):
        size = chance.randint(1, 600)
        index, old = chance.randrange(size), chance.randint(1, size)
        leaf, root = tree.leaf(index), tree.root(size)
        claims.append(
            (
                True,
                {"index": index, "leaf": leaf, "size": size, "root": root, "proof": tree.inclusion_proof(index, size)},
            )
        )
        other = bytes([leaf[0] ^ 1]) + leaf[1:]
        claims.append((False, {**claims[-1][1], "leaf": other}))
        proof = tree.consistency_proof(old, size)
        claims.append((True, {"old": old, "old_root": tree.root(old), "size": size, "root": root, "proof": proof}))
        claims.append((False, {**claims[-1][1], "old_root": other}))
    done = go("proofs", lines="".join(f"{json.dumps(encoded(claim))}\n" for _, claim in claims))
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["good"] for line in done.stdout.splitlines()] == [good for good, _ in claims]


def encoded(value: object) -> object:
    match value:
        case bytes():
            return b64encode(value).decode()
        case dict():
            return {key: encoded(item) for key, item in value.items()}
        case list():
            return [encoded(item) for item in value]
    return value


def test_a_receipt_is_good_for_its_record_only(world, policy, tmp_path):
    with world.store.reader("worker-1") as reader:
        first, second = reader.records(10, stop=12)
    receipt = prove(world.store, world.tree, first.event_id)
    assert receipt is not None
    for name, content in (("proof", receipt.proof), ("entry", first.record), ("other", second.record)):
        (tmp_path / name).write_bytes(content)
    assert go("proof", policy, tmp_path / "proof", tmp_path / "entry").returncode == 0
    assert go("proof", policy, tmp_path / "proof", tmp_path / "other").returncode == 1
    alone = tmp_path / "alone"
    alone.write_text(
        policy.read_text().replace(
            WITNESS.verifier_key, CosignatureSigner("x", Ed25519PrivateKey.generate(), lambda: 1).verifier_key
        )
    )
    assert go("proof", alone, tmp_path / "proof", tmp_path / "entry").returncode == 1


@pytest.mark.parametrize(
    "what",
    ["checkpoint", "tile/0/000", "tile/0/002.p/88", "tile/1/000.p/2", "tile/entries/001", "tile/entries/002.p/88"],
)
def test_no_byte_of_what_is_served_can_be_changed(exported, policy, what):
    path = exported / what
    good = path.read_bytes()
    chance = random.Random(6)  # noqa: S311 - not a secret
    try:
        for place in [0, len(good) // 2, *(chance.randrange(len(good)) for _ in range(6))]:
            if what == "checkpoint" and good[place : place + 1] in b"\n":
                continue
            path.write_bytes(good[:place] + bytes([good[place] ^ 4]) + good[place + 1 :])
            assert go("log", exported, policy).returncode == 1, place
    finally:
        path.write_bytes(good)
    assert go("log", exported, policy).returncode == 0


def test_what_the_reference_libraries_sign_is_good_for_ours():
    said = json.loads(go("sign", "example.org/other").stdout)
    keys = [parse_verifier_key(said["log"]), parse_verifier_key(said["witness"])]
    opened = open_note(said["note"].encode(), keys)
    assert [signature.name for signature in opened.signatures] == ["example.org/other", "witness.example/go"]
    assert opened.signatures[1].timestamp
    proof = parse_proof(said["proof"].encode())
    verify_proof(proof, leaf_hash(b"entry"), keys, "example.org/other")
    with pytest.raises(ProofError):
        verify_proof(proof, leaf_hash(b"another"), keys, "example.org/other")
    with pytest.raises(NoteError):
        open_note(said["note"].replace("\n1\n", "\n2\n").encode(), keys)


AICS = PROGRAM.parents[1] / "aics"


def aics(*arguments: object) -> "subprocess.CompletedProcess[str]":
    assert AICS.exists(), "run deploy/interop.sh"
    return subprocess.run(
        [sys.executable, "-m", "aics_tlog", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=120, env={**os.environ, "PYTHONPATH": str(AICS)},
    )  # fmt: skip


def test_aics_tlog_finds_checkpoint_tiles_and_proofs_good(world, exported, tmp_path):
    keys = ("--log-key", world.signer.verifier_key, "--witness-key", WITNESS.verifier_key, "--quorum", "1")
    with world.store.reader("worker-0") as reader:
        record = next(reader.records(5, stop=6)).record
    (tmp_path / "leaf").write_bytes(record)
    (tmp_path / "other").write_bytes(record + b" ")
    good = aics("verify-checkpoint", "--tiles", exported, *keys)
    assert good.returncode == 0, good.stdout + good.stderr
    place = ("--index", "5", "--tiles", exported, *keys)
    assert aics("verify-inclusion", "--leaf", tmp_path / "leaf", *place).returncode == 0
    assert aics("verify-inclusion", "--leaf", tmp_path / "other", *place).returncode != 0
    tree = TileTree(DirectoryTiles(world.tree), 600)
    for old, root, enough in ((200, tree.root(200), True), (200, tree.root(201), False)):
        said = aics(
            "verify-consistency", "--old-size", old, "--old-root", b64encode(root).decode(), "--tiles", exported, *keys
        )
        assert (said.returncode == 0) is enough, said.stdout + said.stderr
    stranger = CosignatureSigner(WITNESS.name, Ed25519PrivateKey.generate(), lambda: 1)
    refused = aics("verify-checkpoint", "--tiles", exported, *keys[:3], stranger.verifier_key, *keys[4:])
    assert refused.returncode != 0
