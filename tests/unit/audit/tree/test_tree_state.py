"""The state of the tree: runs of leaves, and how far each chain was taken."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.chain import Head
from audit.errors import AuditStoreError
from audit.tree.state import Run, TreeState

STEPS = st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5)), min_size=1, max_size=4), max_size=6)


@settings(deadline=None)
@given(STEPS, st.integers(0, 40), st.integers(0, 40))
def test_every_leaf_is_found_from_both_sides(
    tmp_path_factory: pytest.TempPathFactory, steps: list[list[tuple[str, int]]], start: int, stop: int
) -> None:
    leaves: list[tuple[str, int]] = []
    taken = dict.fromkeys("abc", 0)
    with TreeState(tmp_path_factory.mktemp("tree")) as state:
        for step in steps:
            runs, at = [], len(leaves)
            for chain, count in step:
                runs.append(Run(at, chain, taken[chain], count))
                leaves += [(chain, taken[chain] + n) for n in range(count)]
                taken[chain] += count
                at += count
            state.add(runs, {chain: Head(taken[chain] - 1, chain * 64) for chain, _ in step})
        assert state.size == len(leaves)
        assert [state.at(index) for index in range(len(leaves))] == leaves
        assert [state.index_of(*leaf) for leaf in leaves] == list(range(len(leaves)))
        assert state.index_of("a", taken["a"]) is None
        found = [(run.chain, run.first_seq + n) for run in state.runs(start, stop) for n in range(run.count)]
        assert found == leaves[start:stop]
        assert {c: h.sequence + 1 for c, h in state.heads().items()} == {c: n for c, n in taken.items() if n}
        assert state.heads_at(start) == dict(leaves[:start])
        with pytest.raises(IndexError):
            state.at(len(leaves))


@pytest.mark.parametrize("run", [Run(1, "a", 2, 1), Run(2, "a", 1, 1), Run(2, "a", 3, 1), Run(2, "a", 2, 0)])
def test_what_does_not_continue_the_tree_is_refused_whole(tmp_path: Path, run: Run) -> None:
    with TreeState(tmp_path) as state:
        state.add([Run(0, "a", 0, 2)], {"a": Head(1, "1" * 64)})
        with pytest.raises(AuditStoreError, match="does not continue"):
            state.add([Run(2, "b", 0, 1), run], {})
        assert (state.size, state.index_of("b", 0)) == (2, None)


def test_a_reader_sees_what_the_writer_committed_and_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(AuditStoreError, match="is not there"):
        TreeState(tmp_path / "none", readonly=True)
    with TreeState(tmp_path) as state, TreeState(tmp_path, readonly=True) as reader:
        assert reader.size == 0
        state.add([Run(0, "a", 0, 2)], {"a": Head(1, "1" * 64)})
        assert (reader.size, reader.head("a"), reader.head("b")) == (2, Head(1, "1" * 64), None)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(AuditStoreError, match=r"state\.sqlite cannot be opened"):
        TreeState(tmp_path)
