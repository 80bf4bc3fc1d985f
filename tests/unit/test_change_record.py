"""Who is said to have written, approved and checked a change, from answers of the shape of each forge's API.

The answers are examples made here, cut down to what is read.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "deploy/ci"
HEAD, OLDER, BUILT = "a" * 40, "b" * 40, "c" * 40


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


record = _script("change_record")
comments = _script("comment")


def review(login: str, state: str = "APPROVED", commit: str = HEAD, minute: int = 0, **more: Any) -> dict[str, Any]:
    user = {"login": login, "type": more.pop("type", "User")}
    at = f"2026-11-23T08:{minute:02}:00Z"
    said = {"user": user, "state": state, "commit_id": commit, "submitted_at": at, "author_association": "MEMBER"}
    return {**said, **more}


def run(name: str = "policy-review", conclusion: str | None = "success", suite: int = 1, **more: Any) -> dict[str, Any]:
    status = "completed" if conclusion else "in_progress"
    return {
        "name": name, "head_sha": HEAD, "status": status, "conclusion": conclusion, "check_suite": {"id": suite},
        "started_at": "2026-11-23T08:00:00Z", **more,
    }  # fmt: skip


def wrote(author: str | None = "ada", committer: str | None = "ada") -> dict[str, Any]:
    def account(name: str | None) -> dict[str, str] | None:
        return {"login": name} if name else None

    return {"sha": HEAD, "author": account(author), "committer": account(committer)}


def github(
    reviews: list[Any] | None = None, runs: list[Any] | None = None, commits: list[Any] | None = None, **pull: Any
) -> dict[str, Any]:
    runs = [run()] if runs is None else runs
    commits = [wrote()] if commits is None else commits
    request = {
        "number": 7, "merged": True, "merge_commit_sha": BUILT, "head": {"sha": HEAD}, "user": {"login": "ada"},
        "html_url": "https://forge.test/7", "commits": len(commits), **pull,
    }  # fmt: skip
    commit = {"sha": BUILT, "commit": {"verification": {"verified": True}}}
    checks = {"total_count": len(runs), "check_runs": runs}
    reviews = [review("grace")] if reviews is None else reviews
    made: dict[str, Any] = record.github(BUILT, request, commits, reviews, commit, checks)
    return made


def test_the_record_of_a_reviewed_pull_request():
    assert github() == {
        "commit": BUILT, "commit_signed": True, "author": "ada", "approvers": ["grace"],
        "link": "https://forge.test/7", "checks": ["policy-review"],
    }  # fmt: skip


@pytest.mark.parametrize(
    "reviews",
    [
        [],
        [review("grace", commit=OLDER)],
        [review("grace"), review("grace", "CHANGES_REQUESTED", minute=1)],
        [review("grace", "DISMISSED")],
        [review("grace", "PENDING", submitted_at=None)],
        [review("Ada")],
        [review("robot[bot]", type="Bot")],
        [review("passer-by", author_association="NONE")],
        [review("x", user=None)],
    ],
    ids=["none", "older", "taken-back", "dismissed", "pending", "author", "bot", "stranger", "gone"],
)
def test_what_counts_as_no_approval(reviews):
    assert github(reviews)["approvers"] == []


def test_the_last_verdict_counts_in_whatever_order_they_are_given_and_a_remark_is_none():
    said = [review("grace", minute=2), review("grace", "CHANGES_REQUESTED"), review("grace", "COMMENTED", minute=3)]
    assert github(said)["approvers"] == ["grace"]


@pytest.mark.parametrize("commits", [[wrote(), wrote("Grace")], [wrote(committer="grace")]])
def test_who_wrote_a_commit_of_it_approves_nothing(commits):
    assert github(commits=commits)["approvers"] == []


@pytest.mark.parametrize(
    ("runs", "passed"),
    [
        ([run(conclusion="failure")], []),
        ([run(conclusion="skipped")], []),
        ([run(conclusion=None)], []),
        ([run(conclusion="failure"), run(started_at="2026-11-23T09:00:00Z")], ["policy-review"]),
        ([run(), run(conclusion="failure", started_at="2026-11-23T09:00:00Z")], []),
        ([run(conclusion="failure"), run(suite=2, started_at="2026-11-23T09:00:00Z")], []),
        ([run(), run("lint", "failure")], ["policy-review"]),
    ],
    ids=["failed", "skipped", "running", "again", "failed-again", "another-suite-of-the-name", "others"],
)
def test_a_check_counts_by_its_last_run_in_every_suite_that_has_it(runs, passed):
    assert github(runs=runs)["checks"] == passed


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"merged": False}, "not merged"),
        ({"merge_commit_sha": OLDER}, "not the one that the pull request was merged as"),
        ({"commits": [wrote(author=None)]}, "no account"),
        ({"runs": [run(head_sha=OLDER)]}, "did not run on the last commit"),
        ({"reviews": [review("grace"), review("grace", "DISMISSED")]}, "two verdicts"),
        ({"reviews": {"message": "Not Found"}}, "not a list"),
        ({"user": None}, "lacks user.login"),
    ],
)
def test_what_is_ambiguous_is_refused(changes, why):
    with pytest.raises(record.RecordError, match=why):
        github(**changes)


def test_pages_that_are_missing_are_noticed():
    pull = {
        "merged": True, "merge_commit_sha": BUILT, "head": {"sha": HEAD}, "user": {"login": "ada"}, "commits": 2,
        "html_url": "https://forge.test/7",
    }  # fmt: skip
    commit = {"sha": BUILT, "commit": {"verification": {"verified": True}}}
    with pytest.raises(record.RecordError, match="2 commits of the pull request 1"):
        record.github(BUILT, pull, [wrote()], [], commit, {"total_count": 0, "check_runs": []})
    with pytest.raises(record.RecordError, match="of 101 check runs 1"):
        record.github(BUILT, pull, [wrote()] * 2, [], commit, {"total_count": 101, "check_runs": [run()]})


SETTINGS = {
    "reset_approvals_on_push": True,
    "merge_requests_author_approval": False,
    "merge_requests_disable_committers_approval": True,
}


def gitlab(
    settings: Any = SETTINGS, approved: tuple[str, ...] = ("grace", "ADA"), jobs: list[Any] | None = None, **pull: Any
) -> dict[str, Any]:
    request = {
        "iid": 7, "state": "merged", "merge_commit_sha": BUILT, "sha": HEAD, "author": {"username": "ada"},
        "web_url": "https://forge.test/7", "head_pipeline": {"id": 3, "sha": HEAD, "ref": "x"}, **pull,
    }  # fmt: skip
    jobs = [{"name": "policy-review", "status": "success", "pipeline": {"id": 3}}] if jobs is None else jobs
    reviews = {"approved_by": [{"user": {"username": name}} for name in approved]}
    made: dict[str, Any] = record.gitlab(BUILT, request, settings, reviews, {"verification_status": "verified"}, jobs)
    return made


def test_the_record_of_a_reviewed_merge_request():
    assert gitlab() == {
        "commit": BUILT, "commit_signed": True, "author": "ada", "approvers": ["grace"],
        "link": "https://forge.test/7", "checks": ["policy-review"],
    }  # fmt: skip


@pytest.mark.parametrize("settings", [{}, *({**SETTINGS, name: not value} for name, value in SETTINGS.items())])
def test_gitlab_approvals_count_only_where_the_project_keeps_author_and_approver_apart(settings, capsys):
    assert gitlab(settings)["approvers"] == []
    assert "No approval counts" in capsys.readouterr().err


def test_gitlab_token_accounts_approve_nothing():
    assert gitlab(approved=("project_5_bot_0a1b", "group_2_bot"))["approvers"] == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"state": "opened"}, "not merged"),
        ({"merge_commit_sha": OLDER}, "not the one that the merge request was merged as"),
        ({"head_pipeline": {"id": 3, "sha": OLDER, "ref": "x"}}, "did not run on its last commit"),
        ({"jobs": [{"name": "policy-review", "status": "success", "pipeline": {"id": 2}}]}, "is not of"),
    ],
)
def test_what_is_ambiguous_on_gitlab_is_refused(changes, why):
    with pytest.raises(record.RecordError, match=why):
        gitlab(**changes)


def test_nothing_is_written_when_an_answer_is_an_error(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"message": "Bad credentials"}))
    arguments = [f"--{name}={tmp_path / 'x.json'}" for name in ("pull", "commits", "reviews", "commit", "checks")]
    done = subprocess.run(
        [sys.executable, SCRIPTS / "change_record.py", "github", "--built", BUILT, *arguments, "--out", tmp_path / "out"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "lacks user.login" in done.stderr
    assert not (tmp_path / "out").exists()


def test_what_a_failed_step_said_cannot_leave_its_fence_in_the_comment(tmp_path):
    (tmp_path / "check.status").write_text("1\n")
    (tmp_path / "check.txt").write_text("````\n@everyone, all is well\n" + "x" * 100_000 + "\n`````\n")
    text = comments.comment(tmp_path)
    fence = "``````"
    assert text.count(fence) == 2
    assert text.index(fence + "text") < text.index("`````\n" + fence)
    assert len(text) < comments.MAX_CHARACTERS
    assert "check: **failed** · test: not run" in text
