"""The standalone verifier, alone: what it proves, that it names every change, and that no garbage stops it."""

import json
import os
import random
import shutil
import stat
import zipfile
from base64 import b64decode, b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.canonical import canonical
from audit.events import EVENTS
from audit.tlog.note import CosignatureSigner, add_signature_lines, note_text
from compliance.offline import verify_evidence
from compliance.package.merkle import RootHasher
from compliance.package.output import WrittenFile
from compliance.package.signing import envelope, manifest, statement
from tests.support.audit_log import LogWorld
from tests.support.evidence_world import Auditor, World, fill, make

SEED = "lottery numbers of Saturday"


def test_a_package_is_proved(auditor: Auditor) -> None:
    found = auditor(
        "--system", "claims-triage", "--from", "2027-01-15", "--to", "2027-01-16", "--seed", SEED, "--json",
        "--not-before", "2027-01-17", "--commitment", str(auditor.package / "commitment.json"),
        "--since", str(auditor.package / "checkpoint"),
    )  # fmt: skip
    assert found.code == 0, found.text
    facts = found.json["facts"]
    assert (facts["system"], facts["first"], facts["last"]) == ("claims-triage", "2027-01-15", "2027-01-16")
    assert facts["spoilt_rejected"] == ["changed", "truncated", "reordered", "forked"]
    assert facts["traced"] >= 1
    assert facts["populations"] == 3


def test_a_zip_file_is_proved_like_a_directory(world: World, tmp_path: Path) -> None:
    make(world, tmp_path / "package.zip")
    found = Auditor(tmp_path / "package.zip", world)()
    assert found.code == 0, found.text


def test_it_says_in_words_what_it_proved_and_what_not(auditor: Auditor) -> None:
    text = auditor().text
    assert "4 spoilt copies rejected" in text
    assert "committed to in the log" in text
    assert "Not proved:" in text
    assert "that what a record says is true" in text
    assert "cosignatures of witnesses were not looked at" in text
    assert "govctl verify-evidence --replay" in text


def test_without_keys_nobody_vouches_for_it(auditor: Auditor) -> None:
    found = auditor(keys=False)
    assert found.code == 3, found.text
    assert "no evidence key was given" in found.text
    assert "no key of the log was given" in found.text


def test_the_evidence_key_may_be_a_file(auditor: Auditor, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    shutil.copy(auditor.package / "keys/evidence.pem", key)
    found = auditor("--evidence-key", str(key), "--log-key", auditor.world.log.signer.verifier_key, keys=False)
    assert found.code == 0, found.text


# What is changed and not signed


def flip(path: Path, at: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_every_changed_file_is_named(auditor: Auditor, made: Path) -> None:
    names = sorted(path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file())
    kinds = {Path(name).parts[0]: name for name in names}
    for name in kinds.values():
        flip(auditor.package / name)
        found = auditor()
        assert found.code == 1, name
        assert Path(name).name in found.text
        shutil.copy(made / name, auditor.package / name)
    assert auditor().code == 0


def test_a_removed_file_is_named(auditor: Auditor) -> None:
    (auditor.package / "COVERAGE.md").unlink()
    found = auditor()
    assert found.code == 1
    assert "COVERAGE.md was removed" in found.text


def test_an_added_file_is_named(auditor: Auditor) -> None:
    (auditor.package / "documents").mkdir()
    (auditor.package / "documents/more.md").write_text("more")
    found = auditor()
    assert found.code == 1
    assert "documents/more.md was added" in found.text


def test_links_and_special_files_are_refused(auditor: Auditor) -> None:
    target = auditor.package / "COVERAGE.md"
    moved = auditor.package.parent / "elsewhere.md"
    target.rename(moved)
    target.symlink_to(moved)
    assert "COVERAGE.md is a link" in auditor().text
    target.unlink()
    os.mkfifo(target)
    found = auditor()
    assert found.code == 1
    assert "no ordinary file" in found.text


# What somebody signs anew, with the evidence key or another


def sign_anew(package: Path, key: Ed25519PrivateKey, **changes: Any) -> None:
    """Write manifest and envelope of what is there now."""
    outside = {"manifest.json", "manifest.dsse.json"}
    media = {
        each["path"]: each["media_type"] for each in orjson.loads((package / "manifest.json").read_bytes())["files"]
    }
    files = []
    for path in package.rglob("*"):
        name = path.relative_to(package).as_posix()
        if path.is_file() and name not in outside:
            data = path.read_bytes()
            files.append(WrittenFile(name, sha256(data).hexdigest(), len(data), media.get(name, "text/plain")))
    content = manifest(files)
    (package / "manifest.json").write_bytes(content)
    predicate = statement_of(package)["predicate"] | changes
    payload = statement(sha256(content).hexdigest(), predicate)
    (package / "manifest.dsse.json").write_bytes(envelope(payload, key))


def statement_of(package: Path) -> dict[str, Any]:
    raw = orjson.loads((package / "manifest.dsse.json").read_bytes())
    return dict(orjson.loads(b64decode(raw["payload"])))


def rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    path.write_bytes(canonical(change(orjson.loads(path.read_bytes()))))


def test_a_manifest_that_somebody_else_signed_anew_is_named(auditor: Auditor) -> None:
    (auditor.package / "COVERAGE.md").write_text("Nothing is missing.")
    sign_anew(auditor.package, Ed25519PrivateKey.generate())
    found = auditor()
    assert found.code == 1
    assert "signed anew by somebody else" in found.text
    assert "COVERAGE.md was changed" not in found.text


def test_the_key_in_a_forged_package_is_not_the_one_that_was_given(auditor: Auditor) -> None:
    forger = Ed25519PrivateKey.generate()
    from compliance.package.signing import public_pem

    (auditor.package / "keys/evidence.pem").write_text(public_pem(forger.public_key()))
    sign_anew(auditor.package, forger)
    found = auditor()
    assert found.code == 1
    assert "signed with another key than the one whose fingerprint you gave" in found.text


def remove_row(package: Path, name: str, row: int) -> dict[str, Any]:
    lines = (package / f"populations/{name}.jsonl").read_bytes().splitlines(keepends=True)
    table = (package / f"populations/{name}.csv").read_bytes().splitlines(keepends=True)
    removed = dict(orjson.loads(lines.pop(row)))
    del table[row + 1]
    (package / f"populations/{name}.jsonl").write_bytes(b"".join(lines))
    (package / f"populations/{name}.csv").write_bytes(b"".join(table))
    return removed


def test_a_row_that_was_removed_before_signing_is_named(auditor: Auditor) -> None:
    remove_row(auditor.package, "calls", 7)
    sign_anew(auditor.package, auditor.world.key)
    found = auditor()
    assert found.code == 1
    assert "the population calls has 50 rows, and 51 were committed to" in found.text


def commit_anew(package: Path) -> None:
    """Make commitment.json fit the populations."""
    committed = orjson.loads((package / "commitment.json").read_bytes())
    for name, each in committed["populations"].items():
        root = RootHasher()
        for line in (package / f"populations/{name}.jsonl").read_bytes().splitlines():
            root.take(line)
        each.update(root=root.root().hex(), rows=root.count)
    (package / "commitment.json").write_bytes(canonical(committed))


def test_a_commitment_that_was_made_to_fit_is_not_the_one_in_the_log(auditor: Auditor) -> None:
    kept = auditor.package.parent / "commitment.json"
    shutil.copy(auditor.package / "commitment.json", kept)
    remove_row(auditor.package, "calls", 7)
    commit_anew(auditor.package)
    digest = sha256((auditor.package / "commitment.json").read_bytes()).hexdigest()
    sign_anew(auditor.package, auditor.world.key, commitment=digest)
    found = auditor("--commitment", str(kept))
    assert found.code == 1
    assert "the log says that something else was committed to" in found.text
    assert "not the one that you had before you gave your seed" in found.text


def test_a_changed_cell_in_csv_is_named(auditor: Auditor) -> None:
    path = auditor.package / "populations/calls.csv"
    path.write_bytes(path.read_bytes().replace(b",allow,", b",deny,", 1))
    sign_anew(auditor.package, auditor.world.key)
    assert "of the population calls is another one in CSV" in auditor().text


def test_two_rows_that_changed_places_are_named(auditor: Auditor) -> None:
    for name, offset in (("calls.jsonl", 0), ("calls.csv", 1)):
        path = auditor.package / "populations" / name
        lines = path.read_bytes().splitlines(keepends=True)
        lines[offset], lines[offset + 1] = lines[offset + 1], lines[offset]
        path.write_bytes(b"".join(lines))
    sign_anew(auditor.package, auditor.world.key)
    assert "or in another order, than were committed to" in auditor().text


def test_a_swapped_sample_is_named(auditor: Auditor) -> None:
    def swap(samples: dict[str, Any]) -> dict[str, Any]:
        drawn = {each["place"] for each in samples["samples"] if each["population"] == "calls"}
        chosen = next(each for each in samples["samples"] if each["population"] == "calls")
        chosen["place"] = next(place for place in range(51) if place not in drawn)
        return samples

    rewrite(auditor.package / "samples/samples.json", swap)
    sign_anew(auditor.package, auditor.world.key)
    found = auditor()
    assert found.code == 1
    assert "a sample was swapped" in found.text


def test_a_record_of_a_sample_that_was_changed_is_named(auditor: Auditor) -> None:
    path = sorted((auditor.package / "samples/records").glob("*.json"))[3]
    rewrite(path, lambda record: record | {"system": "other"})
    sign_anew(auditor.package, auditor.world.key)
    found = auditor()
    assert found.code == 1
    assert f"record {int(path.stem)}: its proof does not lead to the signed root" in found.text


def test_another_seed_than_the_one_that_was_given_is_named(auditor: Auditor) -> None:
    found = auditor("--seed", "mine")
    assert found.code == 1
    assert "another seed than yours" in found.text


def test_fewer_samples_than_were_committed_to_are_named(auditor: Auditor) -> None:
    rewrite(auditor.package / "samples/samples.json", lambda samples: samples | {"count": 2})
    sign_anew(auditor.package, auditor.world.key)
    assert "another number of them" in auditor().text


def test_a_spoilt_copy_that_is_good_is_named(auditor: Auditor) -> None:
    shutil.copy(auditor.package / "populations/starts.jsonl", auditor.package / "spoilt/changed/starts.jsonl")
    sign_anew(auditor.package, auditor.world.key)
    found = auditor()
    assert found.code == 1
    assert "the spoilt copy changed was not rejected" in found.text


def test_the_checkpoint_of_another_log_with_the_same_name_is_named(auditor: Auditor, tmp_path: Path) -> None:
    with LogWorld(tmp_path / "forged") as forged:
        fill(forged)
        make(World(forged, tmp_path / "commitments", auditor.world.key), tmp_path / "forgery")
    found = Auditor(tmp_path / "forgery", auditor.world)()
    assert found.code == 1
    assert "the checkpoint is not signed by the key that you gave" in found.text


# What was asked for


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--system", "payroll"], "wrong system: the package is of 'claims-triage', not of 'payroll'"),
        (["--system", ""], "wrong system"),
        (["--from", "2027-01-01"], "wrong period: the package is of 2027-01-15 to 2027-01-16"),
        (["--to", "2027-01-31"], "wrong period"),
        (["--not-before", "2027-02-01"], "the package is old"),
        (["--not-before", "2027-01-17T23:00:00Z"], "the package is old"),
    ],
)
def test_a_package_of_something_else_is_named(auditor: Auditor, options: list[str], named: str) -> None:
    found = auditor(*options)
    assert found.code == 1
    assert named in found.text


def test_a_package_from_before_a_checkpoint_that_is_known_is_named(auditor: Auditor, tmp_path: Path) -> None:
    newer = auditor.world.log.sequence()
    (tmp_path / "newer").write_bytes(newer)
    found = auditor("--since", str(tmp_path / "newer"))
    assert found.code == 1
    assert "the package is older than" in found.text


def test_the_log_continues_a_checkpoint_that_the_auditor_has(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    with LogWorld(tmp_path / "audit") as log:
        log.write("control", ("gateway.started", {"version": "0"}))
        log.write("control", ("gateway.started", {"version": "0"}))
        log.write("control", ("gateway.started", {"version": "0"}))
        known = log.sequence()
        fill(log)
        world = World(log, tmp_path / "commitments", key)
        make(world, tmp_path / "with", since=(known,))
        make(world, tmp_path / "without")
        (tmp_path / "known").write_bytes(known)
        found = Auditor(tmp_path / "with", world)("--since", str(tmp_path / "known"))
        assert found.code == 0, found.text
        assert "the log continues your checkpoint" in found.text
        assert "has no proof of it" in Auditor(tmp_path / "without", world)("--since", str(tmp_path / "known")).text
        rewrite(tmp_path / "with/consistency/3.json", lambda hashes: ["00" * 32, *hashes[1:]])
        assert "the log was cut or written anew" in Auditor(tmp_path / "with", world)(
            "--since", str(tmp_path / "known")
        ).text  # fmt: skip


def test_cosignatures_are_asked_for_by_a_policy(auditor: Auditor, tmp_path: Path) -> None:
    witness = CosignatureSigner("witness.example/w1", Ed25519PrivateKey.generate(), lambda: 1_800_000_000)
    policy = tmp_path / "policy"
    policy.write_text(f"witness w1 {witness.verifier_key}\nquorum w1\n")
    found = auditor("--witness-policy", str(policy))
    assert found.code == 1
    assert "lacks cosignatures" in found.text
    path = auditor.package / "checkpoint"
    note = path.read_bytes()
    path.write_bytes(add_signature_lines(note, [_line(witness, note)]))
    sign_anew(auditor.package, auditor.world.key)
    found = auditor("--witness-policy", str(policy))
    assert found.code == 0, found.text
    assert "witness.example/w1 saw this tree" in found.text


def _line(signer: CosignatureSigner, note: bytes) -> str:
    from audit.tlog.note import SignatureLine

    name, identifier, _ = signer.verifier_key.split("+", 2)
    return str(SignatureLine(name, bytes.fromhex(identifier), signer.sign(note_text(note))))


# Leaves that are in no population


def test_a_call_that_was_left_out_of_the_population_is_found_from_the_log(tmp_path: Path) -> None:
    """The operator leaves calls out before committing: only the leaves drawn from the log tell."""
    from tests.support.evidence_world import TinyData

    class LeavingOut(TinyData):
        def __init__(self, source: Any, period: Any) -> None:
            super().__init__(source, period)
            self._rows["calls"] = [row for row in self._rows["calls"] if row["leaf"] % 4]

    with LogWorld(tmp_path / "audit") as log:
        fill(log)
        world = World(log, tmp_path / "commitments", Ed25519PrivateKey.generate(), make_data=LeavingOut)
        make(world, tmp_path / "package", samples=100)
        found = Auditor(tmp_path / "package", world)()
    assert found.code == 1
    assert "is not in the population calls: it was left out, or removed" in found.text


# Zip files that attack


def packed(package: Path, target: Path) -> list[tuple[zipfile.ZipInfo, bytes]]:
    return [
        (zipfile.ZipInfo(path.relative_to(package).as_posix()), path.read_bytes())
        for path in sorted(package.rglob("*"))
        if path.is_file()
    ]


def write_zip(target: Path, entries: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
    with zipfile.ZipFile(target, "w") as out:
        for entry, data in entries:
            out.writestr(entry, data)


def _symlink() -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo("link")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("entry", "named"),
    [
        (zipfile.ZipInfo("../../etc/cron.d/x"), "no path of a package"),
        (zipfile.ZipInfo("/etc/passwd"), "no path of a package"),
        (zipfile.ZipInfo("a\\..\\b"), "no path of a package"),
        (zipfile.ZipInfo("COVERAGE.md"), "twice"),
        (zipfile.ZipInfo("more/"), "no ordinary file"),
        (zipfile.ZipInfo("more"), "more was added"),
        (_symlink(), "no ordinary file"),
    ],
    ids=["up", "absolute", "backslashes", "twice", "directory", "added", "symlink"],
)
def test_entries_that_lead_elsewhere_are_refused(
    auditor: Auditor, tmp_path: Path, entry: zipfile.ZipInfo, named: str
) -> None:
    write_zip(tmp_path / "bad.zip", [*packed(auditor.package, tmp_path), (entry, b"x")])
    found = auditor(package=tmp_path / "bad.zip")
    assert found.code == 1
    assert named in found.text


def test_a_zip_bomb_is_refused_by_the_size_in_the_manifest(auditor: Auditor, tmp_path: Path) -> None:
    entries = [(entry, data) for entry, data in packed(auditor.package, tmp_path) if entry.filename != "COVERAGE.md"]
    bomb = zipfile.ZipInfo("COVERAGE.md")
    bomb.compress_type = zipfile.ZIP_DEFLATED
    write_zip(tmp_path / "bad.zip", [*entries, (bomb, b"\0" * 100_000_000)])
    found = auditor(package=tmp_path / "bad.zip")
    assert found.code == 1
    assert "COVERAGE.md was changed: it has another size" in found.text


def test_an_entry_that_lies_about_its_size_is_refused(auditor: Auditor, tmp_path: Path) -> None:
    entries = packed(auditor.package, tmp_path)
    write_zip(tmp_path / "bad.zip", entries)
    raw = bytearray((tmp_path / "bad.zip").read_bytes())
    at = raw.rindex(b"COVERAGE.md") - 46  # its entry in the central directory
    raw[at + 24 : at + 28] = (7).to_bytes(4, "little")
    (tmp_path / "bad.zip").write_bytes(raw)
    found = auditor(package=tmp_path / "bad.zip")
    assert found.code == 1
    assert "COVERAGE.md" in found.text


# Garbage


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"{}", b"\xff" * 100])
def test_a_file_that_is_no_package_is_wrong_use(auditor: Auditor, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "none").write_bytes(content)
    found = auditor(package=tmp_path / "none")
    assert found.code == 2
    assert "is no package" in found.text


def test_an_empty_directory_is_wrong(auditor: Auditor, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    found = auditor(package=tmp_path / "empty")
    assert found.code == 1
    assert "manifest.json is missing" in found.text


@pytest.mark.parametrize(
    "options", [["--log-key", "nonsense+1+2"], ["--evidence-key", "/nowhere"], ["--not-before", "yesterday"]]
)
def test_wrong_use_is_told_apart_from_a_wrong_package(auditor: Auditor, options: list[str]) -> None:
    assert auditor(*options).code == 2


GARBAGE = [
    b"", b"{", b"null", b"[]", b"{}", b'"x"', b"1e999", b"[" * 100_000, b'{"a":1,"a":2}', b"\xff\xfe", b"\n\n", b"\0" * 50,
    b'{"files":[{"path":1}]}', b'{"populations":{"calls":1}}', b'{"samples":[1]}', b'[{"name":1}]', b"9" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("name", [
    "manifest.json", "manifest.dsse.json", "checkpoint", "commitment.json", "committed/record.json",
    "committed/record.tlog-proof", "committed/consistency.json", "populations/dictionary.json",
    "populations/calls.jsonl", "populations/calls.csv", "samples/samples.json", "spoilt/index.json", "keys/evidence.pem",
])  # fmt: skip
def test_no_garbage_stops_it(auditor: Auditor, name: str) -> None:
    """In this process, for it is quicker; what is raised here would be a traceback there."""
    for garbage in GARBAGE:
        (auditor.package / name).write_bytes(garbage)
        verdict = verify(auditor)
        assert verdict.wrong, garbage


def test_no_change_of_a_few_bytes_stops_it_or_is_taken(auditor: Auditor, made: Path) -> None:
    source = random.Random(7)  # noqa: S311 - the same changes each time
    names = sorted(
        path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file() and path.stat().st_size
    )
    for _ in range(80):
        name = source.choice(names)
        data = bytearray((made / name).read_bytes())
        for _ in range(source.randrange(1, 4)):
            data[source.randrange(len(data))] = source.randrange(256)
        if bytes(data) == (made / name).read_bytes():
            continue
        (auditor.package / name).write_bytes(data)
        assert verify(auditor).wrong, name
        shutil.copy(made / name, auditor.package / name)
    assert not verify(auditor).wrong


def test_no_change_of_a_parsed_file_that_is_signed_anew_stops_it(auditor: Auditor, made: Path) -> None:
    """The operator has the key: whatever they sign is judged, and never believed."""
    source = random.Random(11)  # noqa: S311 - the same changes each time
    for name in ("commitment.json", "samples/samples.json", "spoilt/index.json", "populations/dictionary.json"):
        for _ in range(15):
            document = orjson.loads((made / name).read_bytes())
            _spoil(document, source)
            (auditor.package / name).write_bytes(canonical(document))
            sign_anew(auditor.package, auditor.world.key)
            verify(auditor)
        shutil.copy(made / name, auditor.package / name)
    sign_anew(auditor.package, auditor.world.key)
    assert not verify(auditor).wrong


def _spoil(document: Any, source: random.Random) -> None:
    """Replace one value somewhere by something else."""
    while True:
        keys = list(document) if isinstance(document, dict) else list(range(len(document)))
        if not keys:
            return
        key = source.choice(keys)
        if isinstance(document[key], dict | list) and document[key] and source.random() < 0.8:
            document = document[key]
            continue
        document[key] = source.choice([None, -1, 2**53 - 1, "", "x", [], {}, True, ["x"], {"x": 1}])
        return


def verify(auditor: Auditor) -> verify_evidence.Verdict:
    import argparse

    parser = argparse.ArgumentParser()
    verify_evidence.add_options(parser)
    keys = [
        "--evidence-key",
        str(auditor.package.parent / "key.pem"),
        "--log-key",
        auditor.world.log.signer.verifier_key,
    ]
    from compliance.package.signing import public_pem

    (auditor.package.parent / "key.pem").write_text(public_pem(auditor.world.key.public_key()))
    return verify_evidence.verify(parser.parse_args([str(auditor.package), *keys]))


def test_what_is_printed_cannot_move_the_cursor(auditor: Auditor) -> None:
    rewrite(
        auditor.package / "commitment.json", lambda each: each | {"question": each["question"] | {"system": "\x1b[2J"}}
    )
    sign_anew(auditor.package, auditor.world.key)
    found = auditor()
    assert found.code == 1
    assert "\x1b" not in found.text


def test_the_envelope_is_checked_over_exactly_its_payload(auditor: Auditor) -> None:
    path = auditor.package / "manifest.dsse.json"
    raw = json.loads(path.read_bytes())
    changed = statement_of(auditor.package)
    changed["predicate"]["exporter"] = "operator:somebody"
    raw["payload"] = b64encode(canonical(changed)).decode()
    path.write_bytes(canonical(raw))
    found = auditor()
    assert found.code == 1
    assert "is not signed by the evidence key" in found.text


def test_every_type_that_is_traced_is_a_type_of_records() -> None:
    assert set(verify_evidence.TRACED) <= set(EVENTS)
