"""What is copied to an object store, in what order, and what stops a copy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.anchors.checking import check_copies
from audit.anchors.copying import LogCopier
from audit.anchors.errors import AnchorContradictsError, AnchorError
from audit.tlog.errors import TileMissingError
from audit.tlog.tiles import TileTree
from tests.support.anchored_log import GrowingLog, MemoryObjects

NOW, KEPT = 1_800_000_000, 1000


def copier(log, objects, directory):
    return LogCopier(
        objects, log.storage, directory / "copy.cursor", prefix="log/", retention_seconds=KEPT, clock=lambda: NOW
    )


class Tiles:
    """The copy as tiles: the oldest version of each key, which nobody can put anything before."""

    def __init__(self, objects):
        self.objects = objects

    def read(self, path):
        for kept, data, _ in self.objects.stored:
            if kept.key == f"log/{path}":
                return data
        raise TileMissingError(f"{path} is not there")

    def write(self, path, data):
        raise AssertionError

    def drop_partial(self, path):
        raise AssertionError


@given(steps=st.lists(st.tuples(st.integers(1, 700), st.integers(0, 12)), min_size=1, max_size=5))
def test_however_often_it_is_cut_short_the_copy_is_whole_and_holds_nothing_twice(tmp_path_factory, steps):
    directory = tmp_path_factory.mktemp("log")
    log, objects = GrowingLog(directory / "tree"), MemoryObjects()
    sizes = []
    for count, taken in steps:
        note = log.grow(count)
        objects.fails_after = len(objects.stored) + taken
        try:
            copier(log, objects, directory).copy(note)
        except AnchorError:
            objects.fails_after = 1_000_000
            copier(log, objects, directory).copy(note)
        sizes.append(log.tree.size)
        assert TileTree(Tiles(objects), log.tree.size).root() == log.tree.root()
    full = [key for key in objects.keys if "/tile/" in key and ".p/" not in key]
    assert len(full) == len(set(full))
    report = check_copies(objects, "log/", log.keys, log.tree)
    assert (report.largest, report.passed_over) == (log.tree.size, [])
    assert report.checkpoints >= len(sizes)


def test_tiles_are_there_before_the_checkpoint_that_needs_them(log, objects, tmp_path):
    copier(log, objects, tmp_path).copy(log.grow(256 * 3 + 1))
    paths = [key.removeprefix("log/") for key in objects.keys]
    assert paths[:5] == ["tile/0/000", "tile/0/001", "tile/0/002", "tile/0/003.p/1", "tile/1/000.p/3"]
    assert [path.split("/")[0] for path in paths[5:]] == ["checkpoints", "checkpoint"]
    assert {until for kept, _, until in objects.stored[:-1]} == {NOW + KEPT}
    assert objects.stored[-1][2] is None, "the one that is replaced each time"


def test_a_checkpoint_that_was_copied_is_not_copied_again(log, objects, tmp_path):
    note = log.grow(10)
    assert copier(log, objects, tmp_path).copy(note).objects == 3
    assert copier(log, objects, tmp_path).copy(note).objects == 0


def test_a_checkpoint_can_be_copied_after_the_log_grew_on(log, objects, tmp_path):
    note, root = log.grow(250), log.tree.root()
    log.grow(500)
    copier(log, objects, tmp_path).copy(note)
    assert TileTree(Tiles(objects), 250).root() == root


def test_an_empty_log_has_a_copy_too(log, objects, tmp_path):
    assert copier(log, objects, tmp_path).copy(log.grow(0)).objects == 2


def test_a_cursor_that_is_lost_or_damaged_costs_space_only(log, objects, tmp_path):
    note = log.grow(300)
    copier(log, objects, tmp_path).copy(note)
    for content in (None, b"", b"[]", b'{"no":1}', b"\xff"):
        (tmp_path / "copy.cursor").unlink() if content is None else (tmp_path / "copy.cursor").write_bytes(content)
        assert copier(log, objects, tmp_path).copy(note).whole
    assert len(check_copies(objects, "log/", log.keys, log.tree).passed_over) == 0


def test_a_store_that_takes_the_wish_for_a_lock_and_does_not_lock_is_found_out(log, objects, tmp_path):
    objects.locks = False
    note = log.grow(5)
    for _ in range(2):
        with pytest.raises(AnchorError, match="did not lock it"):
            copier(log, objects, tmp_path).copy(note)
    assert "log/checkpoint" not in objects.keys


def test_an_older_copy_of_the_log_is_not_copied_over_the_newer_one(log, objects, tmp_path):
    older = log.grow(300)
    copier(log, objects, tmp_path).copy(log.grow(300))
    before = len(objects.stored)
    with pytest.raises(AnchorContradictsError, match=r"600 records .* which has 300"):
        copier(log, objects, tmp_path).copy(older)
    assert len(objects.stored) == before


def test_tiles_that_are_not_those_signed_are_not_copied(log, objects, tmp_path):
    note = log.grow(300)
    path = tmp_path / "tree" / "tile" / "0" / "001.p" / "44"
    path.write_bytes(bytes(44 * 32))
    with pytest.raises(AnchorContradictsError, match="not those of its checkpoint"):
        copier(log, objects, tmp_path).copy(note)
    path.unlink()
    with pytest.raises(AnchorError, match="cannot be copied"):
        copier(log, objects, tmp_path).copy(note)
    assert objects.stored == []


def test_a_full_tile_that_is_gone_is_named(log, objects, tmp_path):
    note = log.grow(600)
    (tmp_path / "tree" / "tile" / "0" / "001").unlink()
    with pytest.raises(AnchorError, match="tile/0/001 is not there"):
        copier(log, objects, tmp_path).copy(note)
