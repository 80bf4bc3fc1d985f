from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.retention import Covers, RetentionError


def lines_of(world: Any) -> tuple[Path, list[bytes]]:
    path = world.directory / "retention" / "retention.journal"
    return path, path.read_bytes().splitlines(keepends=True)


def test_what_was_written_is_read_again(world: Any) -> None:
    world.write()
    segment = world.seal()
    hold = world.keeper().set_hold(Covers(systems=("credit",), since=5), "operator:anna", "suit 7")
    book = world.journal.read()
    assert book.segments == [segment]
    assert book.holds == {hold.hold_id: hold}
    assert book.entries == 2
    lifted = world.keeper().lift_hold(hold.hold_id, "operator:bert", "suit settled")
    assert lifted == hold
    assert world.journal.read().holds == {}
    assert [each for each, _ in world.records] == ["log.sealed", "log.legal_hold_set", "log.legal_hold_lifted"]


def test_a_hold_is_lifted_once_and_only_if_it_stands(world: Any) -> None:
    hold = world.keeper().set_hold(Covers(), "operator:anna", "suit 7")
    world.keeper().lift_hold(hold.hold_id, "operator:anna", "over")
    for each in (hold.hold_id, "nothing"):
        with pytest.raises(RetentionError, match="no legal hold"):
            world.keeper().lift_hold(each, "operator:anna", "over")


def test_holds_need_a_reason(world: Any) -> None:
    with pytest.raises(RetentionError, match="reason"):
        world.keeper().set_hold(Covers(), "operator:anna", " ")
    hold = world.keeper().set_hold(Covers(), "operator:anna", "suit")
    with pytest.raises(RetentionError, match="reason"):
        world.keeper().lift_hold(hold.hold_id, "operator:anna", "")


def test_a_line_that_was_changed_taken_out_or_moved_is_noticed(world: Any) -> None:
    for number in range(3):
        world.keeper().set_hold(Covers(systems=(f"s{number}",)), "operator:anna", "suit")
    path, lines = lines_of(world)
    for changed in (
        [lines[0].replace(b"anna", b"bert"), *lines[1:]],
        lines[1:],
        [lines[0], lines[2]],
        [lines[1], lines[0], lines[2]],
        [lines[0], lines[0], *lines[1:]],
        [*lines[:2], b"{}\n"],
        [*lines[:2], b"\n", lines[2]],
    ):
        path.write_bytes(b"".join(changed))
        with pytest.raises(RetentionError, match="was changed"):
            world.journal.read()
    path.write_bytes(b"".join(lines))
    assert world.journal.read().entries == 3


def test_lines_cut_off_the_end_are_noticed_by_what_the_log_knows(world: Any) -> None:
    world.keeper().set_hold(Covers(), "operator:anna", "suit")
    path, lines = lines_of(world)
    for left in (b"", lines[0].replace(b"suit", b"fake")):
        path.write_bytes(left)
        for action in (lambda: world.keeper().book(), lambda: world.keeper().apply("operator:anna")):
            with pytest.raises(RetentionError, match="not the one that the log knows"):
                action()


def test_a_line_that_was_being_written_when_killed_counts_for_nothing(world: Any) -> None:
    world.keeper().set_hold(Covers(), "operator:anna", "suit")
    path, lines = lines_of(world)
    path.write_bytes(lines[0] + lines[0][:40])
    assert world.journal.read().entries == 1
    world.keeper().set_hold(Covers(), "operator:anna", "another suit")
    assert [hold.cause for hold in world.journal.read().holds.values()] == ["suit", "another suit"]


def test_the_journal_of_another_log_is_refused(world: Any) -> None:
    world.keeper().set_hold(Covers(), "operator:anna", "suit")
    world.journal._log = "example.org/other"
    with pytest.raises(RetentionError, match="was changed"):
        world.journal.read()


def test_a_hold_that_nobody_is_on_record_to_have_lifted_still_stands(world: Any) -> None:
    hold = world.keeper().set_hold(Covers(), "operator:anna", "suit")

    def broken(record_type: str, fields: dict[str, Any]) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        world.keeper(broken).lift_hold(hold.hold_id, "operator:anna", "over")
    assert hold.hold_id in world.keeper().book().holds


@given(data=st.binary(max_size=200))
def test_no_file_makes_reading_fail_in_another_way(tmp_path_factory: Any, data: bytes) -> None:
    from audit.retention import Journal

    directory = tmp_path_factory.mktemp("journal")
    (directory / "retention.journal").write_bytes(data)
    journal = Journal(directory, "example.org/audit", lambda: 0)
    if b"\n" in data:
        with pytest.raises(RetentionError):
            journal.read()
    else:
        assert journal.read().entries == 0
