from typing import Any

import pytest

from audit.chain import Head
from audit.errors import AuditError
from audit.retention import RetentionError


def test_a_segment_holds_what_each_chain_grew_by(world: Any) -> None:
    world.write("worker-0", 3)
    world.write("worker-1", 2)
    first = world.seal()
    world.write("worker-0", 4)
    world.write("control", 1)
    second = world.seal()
    assert (first.number, first.start, first.end) == (1, 0, 5)
    assert first.ranges() == [("worker-0", 0, 3), ("worker-1", 0, 2)]
    assert (second.number, second.start, second.end, second.records) == (2, 5, 10, 5)
    assert second.ranges() == [("control", 0, 1), ("worker-0", 3, 7)]
    assert world.told("log.sealed")[1]["start"] == 5


def test_nothing_new_closes_no_segment(world: Any) -> None:
    world.write()
    world.seal()
    with pytest.raises(RetentionError, match="nothing was added"):
        world.seal()


@pytest.mark.parametrize(
    "changes",
    [
        {"origin": "example.org/other"},
        {"size": 4},
        {"extensions": ()},
        {"extensions": ("chain worker-0 3 xx",)},
        {"extensions": ("chain worker-0 3 " + "0" * 64, "chain worker-0 3 " + "0" * 64)},
    ],
)
def test_a_checkpoint_that_does_not_fit_closes_no_segment(world: Any, changes: dict[str, Any]) -> None:
    world.write()
    with pytest.raises(RetentionError):
        world.keeper().seal(world.note(**changes), "operator:anna")
    assert world.records == []


def test_an_unsigned_or_foreign_checkpoint_closes_no_segment(world: Any) -> None:
    world.write()
    note = world.note()
    for other in (note.replace(b"\n3\n", b"\n4\n"), note.split(b"\n\n")[0] + b"\n", b""):
        with pytest.raises(AuditError):
            world.keeper().seal(other, "operator:anna")


def test_a_tree_whose_chain_went_backwards_is_refused(world: Any) -> None:
    world.write("worker-0", 3)
    world.seal()
    world.write("worker-1", 5)
    world.heads["worker-0"] = Head(1, "0" * 64)
    with pytest.raises(RetentionError, match="another tree"):
        world.seal()
    world.heads["worker-0"] = Head(2, "0" * 64)
    with pytest.raises(RetentionError, match="another tree"):
        world.seal()
