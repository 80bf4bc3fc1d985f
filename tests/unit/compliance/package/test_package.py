"""A package is whole, the same each time, and holds what it says."""

import csv
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from audit.tlog.merkle import leaf_hash, root_of
from compliance.errors import ComplianceError
from compliance.offline import verify_evidence
from compliance.package.drawing import draw
from compliance.package.merkle import RootHasher
from compliance.package.signing import PAYLOAD_TYPE, fingerprint, public_pem
from compliance.package.writing import csv_cell
from tests.support.evidence_world import Auditor, World, make, question


def contents(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def document(directory: Path, name: str) -> Any:
    return orjson.loads((directory / name).read_bytes())


def test_the_same_question_gives_the_same_bytes(made: Path, world: World, tmp_path: Path) -> None:
    assert not make(world, tmp_path / "again").committed_now
    assert contents(tmp_path / "again") == contents(made)


def test_the_same_question_gives_the_same_zip_file(made: Path, world: World, tmp_path: Path) -> None:
    for name in ("one.zip", "two.zip"):
        make(world, tmp_path / name)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as packed:
        assert {name: packed.read(name) for name in packed.namelist()} == contents(made)


def test_another_seed_draws_from_the_same_commitment(made: Path, world: World, tmp_path: Path) -> None:
    make(world, tmp_path / "other", seed="another")
    assert (tmp_path / "other/commitment.json").read_bytes() == (made / "commitment.json").read_bytes()
    assert document(tmp_path / "other", "samples/samples.json") != document(made, "samples/samples.json")


def test_a_new_commitment_is_made_only_if_asked(made: Path, world: World, tmp_path: Path) -> None:
    assert make(world, tmp_path / "anew", samples=3).committed_now
    assert not make(world, tmp_path / "again", samples=3).committed_now
    assert make(world, tmp_path / "third", samples=3, anew=True).committed_now
    sizes = [document(tmp_path / name, "commitment.json")["tree"]["size"] for name in ("anew", "again", "third")]
    assert sizes[0] == sizes[1] < sizes[2]


def test_without_a_seed_nothing_is_drawn_and_the_package_says_so(world: World, tmp_path: Path) -> None:
    make(world, tmp_path / "unseeded", seed="")
    assert not (tmp_path / "unseeded/samples").exists()
    assert "Give commitment.json to the auditor" in (tmp_path / "unseeded/COVERAGE.md").read_text()
    found = Auditor(tmp_path / "unseeded", world)()
    assert found.code == 0, found.text
    assert "samples: no seed was given" in found.text


def test_the_envelope_is_one_for_other_tools(made: Path, world: World) -> None:
    raw = orjson.loads((made / "manifest.dsse.json").read_bytes())
    envelope = Envelope.from_dict(json.loads(json.dumps(raw)))
    key = SSlibKey.from_crypto(world.key.public_key(), keyid=fingerprint(world.key.public_key()))
    assert list(envelope.verify([key], 1)) == [key.keyid]
    assert envelope.payload_type == PAYLOAD_TYPE


def test_the_statement_is_one_for_other_tools(made: Path) -> None:
    envelope = Envelope.from_dict(orjson.loads((made / "manifest.dsse.json").read_bytes()))
    statement = Statement.copy_from_pb(_parsed(envelope.payload))
    statement.validate()
    subject = statement.pb.subject[0]
    assert subject.name == "manifest.json"
    assert subject.digest["sha256"] == verify_evidence.hashlib.sha256((made / "manifest.json").read_bytes()).hexdigest()


def _parsed(payload: bytes) -> Any:
    import google.protobuf.json_format as formats
    from in_toto_attestation.v1.statement_pb2 import Statement as Message

    return formats.Parse(payload, Message())


def test_every_json_file_is_canonical(made: Path) -> None:
    paths = [path for path in made.rglob("*.json") if "spoilt" not in path.parts]
    assert len(paths) > 15
    for path in paths:
        assert rfc8785.dumps(json.loads(path.read_bytes())) == path.read_bytes(), path


def test_the_roots_are_those_of_the_lines(made: Path) -> None:
    committed = document(made, "commitment.json")["populations"]
    for name in ("calls", "grants", "starts"):
        lines = (made / f"populations/{name}.jsonl").read_bytes().splitlines()
        assert committed[name] == {"root": root_of([leaf_hash(each) for each in lines]).hex(), "rows": len(lines)}


def test_a_package_of_one_system_holds_only_its_rows(made: Path) -> None:
    rows = [orjson.loads(line) for line in (made / "populations/calls.jsonl").read_bytes().splitlines()]
    assert len(rows) == 51
    assert {row["system"] for row in rows} == {"claims-triage"}


def test_names_of_people_are_pseudonyms_unless_asked(made: Path, world: World, tmp_path: Path) -> None:
    text = (made / "populations/calls.jsonl").read_text() + (made / "populations/calls.csv").read_text()
    assert "spiffe://example.org/agent" not in text
    names = {orjson.loads(line)["principal"] for line in (made / "populations/calls.jsonl").read_bytes().splitlines()}
    assert len(names) == 3
    make(world, tmp_path / "named", real_names=True)
    assert "spiffe://example.org/agent/a1" in (tmp_path / "named/populations/calls.jsonl").read_text()
    assert world.records("evidence.committed")[-1]["real_names"] is True


def test_pseudonyms_of_two_packages_do_not_match(made: Path, world: World, tmp_path: Path) -> None:
    make(world, tmp_path / "other", samples=5)

    def names(directory: Path) -> set[str]:
        return {
            orjson.loads(line)["principal"]
            for line in (directory / "populations/calls.jsonl").read_bytes().splitlines()
        }

    assert names(made).isdisjoint(names(tmp_path / "other"))


def test_csv_and_json_lines_say_the_same(made: Path) -> None:
    rows = [orjson.loads(line) for line in (made / "populations/calls.jsonl").read_bytes().splitlines()]
    with io.StringIO((made / "populations/calls.csv").read_text(), newline="") as text:
        table = list(csv.DictReader(text))
    assert [each["event_id"] for each in table] == [row["event_id"] for row in rows]
    assert table[0]["closed"] == "true"
    assert table[0]["reasons"] == '["team-may-use-model"]'


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_no_cell_begins_a_formula(text: str) -> None:
    assert csv_cell(text) == f"'{text}"
    assert verify_evidence.csv_cell(text) == f"'{text}"


def test_the_block_of_a_population_compares_it_with_the_leaves(made: Path) -> None:
    blocks = document(made, "populations/ipe.json")
    assert blocks["calls"]["rows"] == 51
    assert blocks["calls"]["window"] == ["2027-01-15T00:00:00Z", "2027-01-17T00:00:00Z"]
    assert "WHERE system = :system" in blocks["calls"]["query"]
    by_leaf = {each["what"]: each for each in blocks["calls"]["reconciliation"]}
    assert by_leaf["rows whose leaf is known, of all systems"]["difference"] == 0
    assert by_leaf["rows whose leaf is known, of all systems"]["other"] == 61
    assert by_leaf["rows whose outcome_leaf is known, of all systems"]["other"] == 50


def test_what_is_refused_leaves_nothing_behind(world: World, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(ComplianceError, match="is there already"):
        make(world, tmp_path / "there")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ComplianceError, match="is there already"):
        make(world, tmp_path / "link")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "there"]


def test_an_interrupted_export_goes_on_and_nothing_has_the_name_until_it_is_whole(
    world: World, made: Path, tmp_path: Path
) -> None:
    class InterruptedHereError(Exception):
        pass

    class Interrupting:
        def write(self, facts: object, out: object) -> None:
            raise InterruptedHereError

    with pytest.raises(InterruptedHereError):
        make(world, tmp_path / "package", parts=[Interrupting()])
    assert not (tmp_path / "package").exists()
    assert (tmp_path / "package.partial").is_dir()
    with pytest.raises(ComplianceError, match="is of another package"):
        make(world, tmp_path / "package", seed="another")
    make(world, tmp_path / "package")
    assert contents(tmp_path / "package") == contents(made)
    assert not (tmp_path / "package.partial").exists()


def test_an_interruption_before_the_commitment_goes_on_with_the_same_tree(world: World, tmp_path: Path) -> None:
    class InterruptedHereError(Exception):
        pass

    def cut(source: Any, period: Any) -> Any:
        raise InterruptedHereError

    size = world.source(None).checkpoint.size
    good, world.make_data = world.make_data, cut
    try:
        with pytest.raises(InterruptedHereError):
            make(world, tmp_path / "package", samples=4)
    finally:
        world.make_data = good
    world.log.write("control", ("gateway.started", {"version": "9"}))
    world.log.sequence()
    make(world, tmp_path / "package", samples=4)
    assert document(tmp_path / "package", "commitment.json")["tree"]["size"] == size


def test_a_period_without_records_is_refused(world: World, tmp_path: Path) -> None:
    from tests.support.evidence_world import TinyData

    class Nothing(TinyData):
        def window(self) -> tuple[int, int]:
            return 0, 0

    good, world.make_data = world.make_data, Nothing
    try:
        with pytest.raises(ComplianceError, match="no records of 2027-01-15 to 2027-01-16"):
            make(world, tmp_path / "package")
    finally:
        world.make_data = good
    assert not list(tmp_path.iterdir())


def test_a_period_of_which_no_day_is_covered_is_refused(world: World, tmp_path: Path) -> None:
    world.uncovered = (("2027-01-15", "the gateway did not run"), ("2027-01-16", "the gateway did not run"))
    try:
        with pytest.raises(ComplianceError, match="no day of 2027-01-15 to 2027-01-16"):
            make(world, tmp_path / "package", samples=6)
    finally:
        world.uncovered = ()


def test_a_register_that_contradicts_the_log_is_refused_with_what_contradicts(world: World, tmp_path: Path) -> None:
    from compliance.populations.base import Column, Population
    from tests.support.evidence_world import TinyData

    models = Population(
        "models", "Models", "Each model.", (Column("model", "text", "It."), Column("listed", "boolean", "In register.")),
        frozenset({"access.intent"}), per_system=True,
    )  # fmt: skip

    class Contradicting(TinyData):
        populations: Mapping[str, Population] = {**TinyData.populations, "models": models}

        def __init__(self, source: Any, period: Any) -> None:
            super().__init__(source, period)
            base = {"leaf": -1, "event_id": "", "time": 0, "day": "", "system": "claims-triage"}
            self._rows["models"] = [{**base, "model": "shadow-chat", "listed": False}]

    good, world.make_data = world.make_data, Contradicting
    try:
        with pytest.raises(ComplianceError, match=r"contradicts the log.*claims-triage: shadow-chat"):
            make(world, tmp_path / "package")
    finally:
        world.make_data = good


def test_an_extraction_that_changed_since_the_commitment_is_refused(made: Path, world: World, tmp_path: Path) -> None:
    from tests.support.evidence_world import TinyData

    class Fewer(TinyData):
        def __init__(self, source: Any, period: Any) -> None:
            super().__init__(source, period)
            self._rows["calls"].pop(0)

    good, world.make_data = world.make_data, Fewer
    try:
        with pytest.raises(ComplianceError, match="not what was committed to"):
            make(world, tmp_path / "package")
    finally:
        world.make_data = good


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2000), st.integers(1, 60), st.text(max_size=40))
def test_the_verifier_draws_what_the_package_draws(root: bytes, rows: int, count: int, seed: str) -> None:
    drawn = draw(seed, root, rows, count)
    assert drawn == verify_evidence.draw(seed, root, rows, count)
    assert len(drawn) == len(set(drawn)) == min(rows, count)
    assert all(0 <= each < rows for each in drawn)


@given(st.lists(st.binary(max_size=20), max_size=70))
def test_roots_are_those_of_rfc_6962(lines: list[bytes]) -> None:
    ours, theirs = RootHasher(), verify_evidence.Root()
    for line in lines:
        ours.take(line)
        theirs.take(line)
    assert ours.root() == theirs.value() == root_of([leaf_hash(line) for line in lines])


def test_questions_are_told_apart() -> None:
    digests = {question().digest(), question(system="").digest(), question(real_names=True).digest()}
    assert len(digests | {question(samples=9).digest(), question(inputs={"register": "1"}).digest()}) == 5


def test_the_key_in_the_package_is_the_one_that_signed(made: Path, world: World) -> None:
    assert (made / "keys/evidence.pem").read_text() == public_pem(world.key.public_key())


def test_two_exports_do_not_build_one_package_at_once(world: World, tmp_path: Path) -> None:
    class Second:
        def write(self, facts: object, out: object) -> None:
            with pytest.raises(ComplianceError, match="another export builds"):
                make(world, tmp_path / "package")

    make(world, tmp_path / "package", parts=[Second()])
    assert (tmp_path / "package/manifest.json").exists()


def test_a_stamp_of_the_envelope_lies_beside_the_manifest(made: Path, world: World, tmp_path: Path) -> None:
    world.stamped = b"an answer of an authority"
    try:
        make(world, tmp_path / "package")
    finally:
        world.stamped = b""
    assert (tmp_path / "package/manifest.json").read_bytes() == (made / "manifest.json").read_bytes()
    found = Auditor(tmp_path / "package", world)()
    assert found.code == 0, found.text
    assert "openssl ts -verify -data manifest.dsse.json" in found.text
