"""A package is whole, the same each time, and what the verifier says it is."""

from pathlib import Path

from tests.support.evidence_world import Auditor, World, make


def test_a_package_is_proved(auditor: Auditor) -> None:
    found = auditor("--system", "claims-triage", "--from", "2027-01-15", "--to", "2027-01-16")
    assert found.code == 0, found.text
    assert "4 spoilt copies rejected" in found.text


def test_the_same_question_gives_the_same_bytes(made: Path, world: World, tmp_path: Path) -> None:
    make(world, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(made)


def contents(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }
