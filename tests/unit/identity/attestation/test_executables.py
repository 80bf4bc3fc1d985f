"""Digests of programs: of the file that was opened, computed once for each version, bounded."""

import hashlib
import os
from pathlib import Path

import pytest

from identity.attestation import executables
from identity.attestation.executables import Digests, path_here


class Counting:
    """An open file that counts how often it is read."""

    def __init__(self, file):
        self._file, self.reads = file, 0

    def fileno(self):
        return self._file.fileno()

    def read(self, size):
        self.reads += 1
        return self._file.read(size)


def digest(digests: Digests, path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        counting = Counting(file)
        return digests.sha256(counting), counting.reads  # type: ignore[arg-type] - the part of a file that is used


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program"
    path.write_bytes(b"one" * 1000)
    return path


def test_a_version_of_a_file_is_read_once(program):
    digests, expected = Digests(), hashlib.sha256(b"one" * 1000).hexdigest()
    assert digest(digests, program) == (expected, 2)
    assert digest(digests, program) == (expected, 0)


def test_another_version_is_read_again_although_size_and_modification_time_are_the_same(program):
    digests, stat = Digests(), program.stat()
    first, _ = digest(digests, program)
    program.write_bytes(b"two" * 1000)
    os.utime(program, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert program.stat().st_mtime_ns == stat.st_mtime_ns
    assert digest(digests, program)[0] == hashlib.sha256(b"two" * 1000).hexdigest() != first


def test_a_program_that_is_too_large_has_no_digest(program, monkeypatch):
    monkeypatch.setattr(executables, "MAX_BYTES", 2999)
    assert digest(Digests(), program) == ("", 0)


def test_a_file_that_changes_while_it_is_read_has_no_digest(program):
    class Changing(Counting):
        def read(self, size):
            found = super().read(size)
            if self.reads == 1:
                program.write_bytes(b"two" * 1000)
            return found

    with program.open("rb") as file:
        assert Digests().sha256(Changing(file)) == ""  # type: ignore[arg-type] - the part of a file that is used


def test_few_digests_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(executables, "REMEMBERED", 2)
    digests, paths = Digests(), [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_text(path.name)
        digest(digests, path)
    assert [digest(digests, path)[1] for path in (paths[2], paths[1], paths[0])] == [0, 0, 2]


def test_a_path_counts_only_where_it_is_the_same_file(program, tmp_path):
    link = tmp_path / "exe"
    link.symlink_to(program)
    assert path_here(link, program.stat()) == str(program)
    stat = program.stat()
    program.rename(tmp_path / "moved")
    assert path_here(link, stat) == ""
    program.write_bytes(b"another file at this path")
    assert path_here(link, stat) == ""
