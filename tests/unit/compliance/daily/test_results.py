"""A day's result is kept whole, and a control that turns red is told once."""

from datetime import date
from pathlib import Path

import pytest

from compliance.catalogue.model import Control
from compliance.daily import DailyResults, results_of, turned
from compliance.errors import ComplianceError
from compliance.evaluation.result import ControlResult, Evaluation, Status
from compliance.period import Period

CONTROL = Control(id="C-1", title="t", paraphrase="p", source="s")


def evaluation(day: int, status: Status, *, binding: bool = True) -> Evaluation:
    when = date(2027, 3, day)
    result = ControlResult("ours", CONTROL, "hiring", status, "", binding, "1", f"because of {day}")
    return Evaluation(Period(when, when), "", (), (result,))


def told(results: DailyResults, day: int, status: Status, *, binding: bool = True) -> list[str]:
    known, now = results.known(date(2027, 3, day)), evaluation(day, status, binding=binding)
    results.keep(now, 7)
    return [each.to for each in turned(known, results_of(now))]


def test_a_control_that_turns_red_is_told_once_and_so_is_its_return(tmp_path):
    results = DailyResults(tmp_path / "daily")
    statuses: list[Status] = ["pass", "fail", "fail", "partial", "fail"]
    assert [told(results, day, status) for day, status in enumerate(statuses, 1)] == [
        [],
        ["failed"],
        [],
        ["recovered"],
        ["failed"],
    ]


def test_a_control_that_is_red_on_the_first_day_is_told(tmp_path):
    assert told(DailyResults(tmp_path), 1, "fail") == ["failed"]


def test_a_control_that_is_not_in_force_is_not_told(tmp_path):
    assert told(DailyResults(tmp_path), 1, "fail", binding=False) == []


def test_a_day_evaluated_again_is_told_again_only_where_it_is_another_result(tmp_path):
    results = DailyResults(tmp_path)
    told(results, 1, "pass")
    told(results, 3, "fail")
    assert told(results, 2, "fail") == ["failed"]
    assert told(results, 2, "fail") == []
    assert told(results, 2, "pass") == ["recovered"]
    assert results.days() == [date(2027, 3, 1), date(2027, 3, 2), date(2027, 3, 3)]


def test_what_is_kept_is_read_back_and_damage_is_named_with_the_remedy(tmp_path: Path):
    results = DailyResults(tmp_path)
    told(results, 1, "partial")
    kept = results.of(date(2027, 3, 1))["ours", "C-1", "hiring"]
    assert (kept.status, kept.reason) == ("partial", "because of 1")
    with pytest.raises(ComplianceError, match=r"no result of 2027-03-02 is kept; run: govctl compliance record"):
        results.of(date(2027, 3, 2))
    (tmp_path / "2027-03-01.json").write_text('{"day": "2027-03-01"')
    with pytest.raises(ComplianceError, match="is damaged; delete it"):
        results.of(date(2027, 3, 1))


def test_a_file_that_is_no_day_is_passed_over(tmp_path):
    (tmp_path / "notes.json").write_text("{}")
    assert DailyResults(tmp_path).days() == []


def test_the_last_whole_day_is_the_last_one_that_was_over(tmp_path: Path):
    results = DailyResults(tmp_path)
    assert results.last_whole() is None
    assert results.kept_at is None
    results.keep(evaluation(1, "pass"), 7)
    results.keep(evaluation(2, "pass"), 8, whole=False)
    assert results.last_whole() == date(2027, 3, 1)
    assert results.kept_at == (tmp_path / "2027-03-02.json").stat().st_mtime


def test_results_are_made_by_one_process_at_a_time_and_what_it_left_is_found(tmp_path: Path):
    results = DailyResults(tmp_path / "daily")
    with results.alone() as work:
        (work / "half").touch()
        with (
            pytest.raises(ComplianceError, match="another process evaluates a day; wait"),
            DailyResults(tmp_path / "daily").alone(),
        ):
            pytest.fail("two at once")
    with results.alone() as work:
        assert (work / "half").exists()
    assert results.days() == []
