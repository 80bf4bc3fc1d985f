"""Proofs against transparency-dev's vectors, and trees on tiles against the definition of RFC 6962."""

import json
from base64 import b64decode
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.tlog.errors import ProofError, TileMissingError
from audit.tlog.merkle import EMPTY_ROOT, leaf_hash, node_hash, root_of, verify_consistency, verify_inclusion
from audit.tlog.tiles import (
    DirectoryTiles,
    TileTree,
    encode_entries,
    entries_path,
    parse_entries,
    tile_path,
)

VECTORS = json.loads((Path(__file__).parent / "merkle_vectors.json").read_text())
LEAVES = [leaf_hash(b"%d" % number) for number in range(1500)]


def of_base64(texts: list[str] | None) -> list[bytes]:
    return [b64decode(text) for text in texts or []]


@pytest.mark.parametrize("vector", VECTORS["inclusion"], ids=lambda vector: vector["name"])
def test_inclusion_proofs_of_transparency_dev(vector):
    leaf, root = b64decode(vector["leafHash"] or ""), b64decode(vector["root"] or "")
    arguments = (leaf, vector["leafIdx"], vector["treeSize"], of_base64(vector["proof"]), root)
    if vector["wantErr"]:
        with pytest.raises(ProofError):
            verify_inclusion(*arguments)
    else:
        verify_inclusion(*arguments)


@pytest.mark.parametrize("vector", VECTORS["consistency"], ids=lambda vector: vector["name"])
def test_consistency_proofs_of_transparency_dev(vector):
    roots = b64decode(vector["root1"] or ""), b64decode(vector["root2"] or "")
    if vector["name"].endswith("size1-is-zero-and-size2-is-not-zero"):
        # There an empty tree is no start; here every tree continues it, as C2SP tlog-witness has it.
        verify_consistency(0, 1, [], *roots)
        return
    arguments = (vector["size1"], vector["size2"], of_base64(vector["proof"]), *roots)
    if vector["wantErr"]:
        with pytest.raises(ProofError):
            verify_consistency(*arguments)
    else:
        verify_consistency(*arguments)


def defined_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(defined_root(leaves[:split]), defined_root(leaves[split:]))


def test_roots_of_transparency_dev(tmp_path):
    leaves = [leaf_hash(bytes.fromhex(text)) for text in VECTORS["roots"]["leaves"]]
    tree = TileTree(DirectoryTiles(tmp_path), 0)
    tree.append(leaves)
    for size, root in enumerate(VECTORS["roots"]["roots"]):
        assert root_of(leaves[:size]).hex() == tree.root(size).hex() == root


def test_neither_proof_takes_hashes_whose_border_was_moved():
    """Node and sibling are hashed as one text, so a longer one beside a shorter one would do as well."""
    first, second, third = (bytes([n]) * 32 for n in (1, 2, 3))
    root = node_hash(node_hash(first, second), third)
    verify_inclusion(first, 0, 3, [second, third], root)
    verify_consistency(3, 4, [third, second, node_hash(first, second)], root, root_of([first, second, third, second]))
    with pytest.raises(ProofError, match="32 bytes"):
        verify_inclusion(first + second[:1], 0, 3, [second[1:], third], root)
    with pytest.raises(ProofError, match="32 bytes"):
        verify_consistency(
            3, 4, [third + second[:1], second[1:], node_hash(first, second)], root,
            root_of([first, second, third, second]),
        )  # fmt: skip


def test_the_root_is_the_one_that_the_rfc_defines():
    assert root_of([]) == EMPTY_ROOT
    for size in (*range(1, 70), 255, 256, 257, 1000):
        assert root_of(LEAVES[:size]) == defined_root(LEAVES[:size])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 600), min_size=1, max_size=4), st.data())
def test_a_tree_that_is_opened_anew_after_each_growth_proves_everything(tmp_path_factory, growth, data):
    storage = DirectoryTiles(tmp_path_factory.mktemp("tiles"))
    size, published = 0, [0]
    for wanted in growth:
        count = min(wanted, len(LEAVES) - size)
        tree = TileTree(storage, size)
        tree.append(LEAVES[size : size + count])
        size += count
        published.append(size)
        assert tree.size == size
        assert tree.root() == defined_root(LEAVES[:size])
    tree = TileTree(storage, size)
    for old in published:
        # Whoever has an older checkpoint opens the same tiles at its size.
        assert TileTree(storage, old).root() == tree.root(old) == defined_root(LEAVES[:old])
    for _ in range(20):
        new = data.draw(st.integers(0, size))
        old = data.draw(st.integers(0, new))
        verify_consistency(old, new, tree.consistency_proof(old, new), tree.root(old), tree.root(new))
        if new:
            index = data.draw(st.integers(0, new - 1))
            assert tree.leaf(index) == LEAVES[index]
            verify_inclusion(LEAVES[index], index, new, tree.inclusion_proof(index, new), tree.root(new))


def test_what_a_kill_left_beyond_the_size_is_written_again(tmp_path):
    storage = DirectoryTiles(tmp_path)
    TileTree(storage, 0).append(LEAVES[:300])
    lost = TileTree(storage, 300)
    lost.append([leaf_hash(b"never signed %d" % number) for number in range(400)])
    tree = TileTree(storage, 300)
    assert tree.root() == defined_root(LEAVES[:300])
    tree.append(LEAVES[300:600])
    assert TileTree(storage, 600).root() == defined_root(LEAVES[:600])


class Failing(DirectoryTiles):
    """Writes so many times and then fails, as a full disk or a kill would have it."""

    def __init__(self, directory: Path, writes: int) -> None:
        super().__init__(directory)
        self.left = writes
        self.written: list[str] = []

    def write(self, path: str, data: bytes) -> None:
        if not self.left:
            raise OSError("no space left on device")
        self.left -= 1
        self.written.append(path)
        super().write(path, data)


@pytest.mark.parametrize("reopened", [True, False])
@pytest.mark.parametrize("start", [0, 255, 256, 300, 512])
def test_growth_that_fails_at_any_write_leaves_the_tree_as_it_was_and_succeeds_later(tmp_path, start, reopened):
    other = [leaf_hash(b"never signed %d" % number) for number in range(600)]
    for writes in range(100):
        storage = Failing(tmp_path / str(writes), -1)
        tree = TileTree(storage, 0)
        tree.append(LEAVES[:start])
        storage.left, storage.written = writes, []
        try:
            tree.append(other)
        except OSError:
            pass
        else:
            break
        storage.left = -1
        if reopened:
            tree = TileTree(storage, start)
        assert (tree.size, tree.root()) == (start, defined_root(LEAVES[:start]))
        for size in range(1, start, 37):
            verify_consistency(size, start, tree.consistency_proof(size, start), tree.root(size), tree.root())
        tree.append(LEAVES[start : start + 400])
        size = start + 400
        assert tree.root() == TileTree(storage, size).root() == defined_root(LEAVES[:size])
        for index in range(0, size, 41):
            verify_inclusion(LEAVES[index], index, size, tree.inclusion_proof(index, size), tree.root())
        assert not [path for path in storage.written if path in {tile_path(0, full) for full in range(start // 256)}]
    assert writes > 2


def test_a_write_that_fails_leaves_neither_a_new_file_nor_a_part_of_one(tmp_path, monkeypatch):
    storage = DirectoryTiles(tmp_path)
    storage.write("tile/0/000.p/1", b"old")

    def full_disk(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("audit.tlog.tiles.os.fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        storage.write("tile/0/000.p/1", b"new")
    assert storage.read("tile/0/000.p/1") == b"old"
    assert [path.name for path in (tmp_path / "tile/0/000.p").iterdir()] == ["1"]


def test_a_full_tile_is_written_once_and_takes_its_partial_ones_along(tmp_path):
    storage = DirectoryTiles(tmp_path)
    tree = TileTree(storage, 0)
    tree.append(LEAVES[:100])
    tree.append(LEAVES[100:255])
    assert sorted(path.name for path in (tmp_path / "tile/0/000.p").iterdir()) == ["100", "255"]
    tree.append(LEAVES[255:256])
    assert not (tmp_path / "tile/0/000.p").exists()
    before = (tmp_path / "tile/0/000").stat()
    tree.append(LEAVES[256:600])
    assert (tmp_path / "tile/0/000").stat() == before
    assert (tmp_path / "tile/1/000.p/2").read_bytes() == root_of(LEAVES[:256]) + root_of(LEAVES[256:512])


@pytest.mark.parametrize("tile", ["tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2"])
@pytest.mark.parametrize(
    "change", [None, lambda good: good[:-1], lambda good: good[:-32], lambda good: good + good[:32]]
)
def test_a_tile_that_is_gone_or_has_another_size_is_named(tmp_path, tile, change):
    storage = DirectoryTiles(tmp_path)
    TileTree(storage, 0).append(LEAVES[:600])
    place = tmp_path / tile
    good = place.read_bytes()
    place.unlink()
    if change:
        place.write_bytes(change(good))
    with pytest.raises(TileMissingError, match=tile if change else tile.partition(".")[0]):
        TileTree(storage, 600).inclusion_proof(300, 600)


def test_nothing_is_proven_outside_of_the_tree(tmp_path):
    tree = TileTree(DirectoryTiles(tmp_path), 0)
    tree.append(LEAVES[:10])
    for call in (
        lambda: tree.root(11), lambda: tree.leaf(10), lambda: tree.leaf(-1), lambda: tree.inclusion_proof(10, 10),
        lambda: tree.inclusion_proof(-1, 10), lambda: tree.consistency_proof(5, 11),
        lambda: tree.consistency_proof(6, 5),
    ):  # fmt: skip
        with pytest.raises(IndexError):
            call()


def test_paths_are_those_of_the_specification():
    assert tile_path(0, 0) == "tile/0/000"
    assert tile_path(2, 1234067) == "tile/2/x001/x234/067"
    assert tile_path(1, 999, 17) == "tile/1/999.p/17"
    assert entries_path(1000, 255) == "tile/entries/x001/000.p/255"


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_bundles_of_entries_come_back_as_they_were(entries):
    assert parse_entries(encode_entries(entries)) == entries


def test_a_bundle_of_more_entries_than_a_tile_has_hashes_is_refused():
    assert len(parse_entries(encode_entries([b"x"] * 256))) == 256
    with pytest.raises(ValueError, match="at most 256"):
        parse_entries(encode_entries([b"x"] * 257))


def test_bundles_that_are_cut_or_too_long_are_refused():
    bundle = encode_entries([b"one", b"two"])
    for cut in (1, 4, 6, 9):
        with pytest.raises(ValueError, match="cut short"):
            parse_entries(bundle[:cut])
    with pytest.raises(ValueError, match="65,535"):
        encode_entries([bytes(65_536)])
