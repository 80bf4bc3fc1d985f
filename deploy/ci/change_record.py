#!/usr/bin/env python3
"""Writes how a change of the policies came about, from what the forge says: for `govctl policy build --change`.

    change_record.py github --built SHA --pull pull.json --commits commits.json --reviews reviews.json \\
        --commit commit.json --checks checks.json
    change_record.py gitlab --built SHA --pull request.json --settings settings.json --reviews approvals.json \\
        --commit signature.json --checks jobs.json

The files are the answers of the forge's API as they came; the pipelines beside this file fetch them. Whatever is
ambiguous is refused: a record that says too much would let a change pass that nobody approved. Standard library only.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

MAX_BYTES = 16 * 1024 * 1024
"""Largest file read."""

TRUSTED = {"OWNER", "MEMBER", "COLLABORATOR"}
"""Whose approval counts on GitHub: anybody may review in a public repository."""

VERIFIED = {"verified", "verified_system", "verified_ca"}
"""What GitLab says of a good signature; `verified_system` is its own, on commits made in the browser."""


FILES = {
    "github": ("pull", "commits", "reviews", "commit", "checks"),
    "gitlab": ("pull", "settings", "reviews", "commit", "checks"),
}
"""Which answers each forge is asked for."""


class RecordError(Exception):
    """The forge's answers do not say who wrote, approved and checked the change."""


def github(built: str, pull: Any, commits: Any, reviews: Any, commit: Any, checks: Any) -> dict[str, Any]:
    """Return the record of a merged pull request.

    An approval counts if it is the last word of a person of the repository, on the last commit. Whoever opened the pull
    request or wrote one of its commits approves nothing.

    Args:
        built: the commit that is built.
        pull: `GET /repos/{o}/{r}/pulls/{n}`.
        commits: `GET /repos/{o}/{r}/pulls/{n}/commits`, all pages in one list.
        reviews: `GET /repos/{o}/{r}/pulls/{n}/reviews`, all pages in one list.
        commit: `GET /repos/{o}/{r}/commits/{built}`.
        checks: `GET /repos/{o}/{r}/commits/{head}/check-runs` of the pull request's last commit, all pages in one.

    Raises:
        RecordError: the answers contradict each other, or lack what the record needs.
    """
    author, head = _text(pull, "user", "login"), _text(pull, "head", "sha")
    if pull.get("merged") is not True:
        raise RecordError(f"the pull request {pull.get('number')} is not merged")
    if _text(pull, "merge_commit_sha") != built or _text(commit, "sha") != built:
        raise RecordError("the commit that is built is not the one that the pull request was merged as")
    wrote = {author.casefold()} | _writers(pull, commits)
    last = _last_words(reviews)
    return {
        "commit": built,
        "commit_signed": _field(commit, "commit", "verification", "verified") is True,
        "author": author,
        "approvers": sorted(
            name for name, said in last.items() if said == ("APPROVED", head) and name.casefold() not in wrote
        ),
        "link": _text(pull, "html_url"),
        "checks": _passed_checks(checks, head),
    }


def gitlab(built: str, pull: Any, settings: Any, reviews: Any, commit: Any, checks: Any) -> dict[str, Any]:
    """Return the record of a merged merge request.

    GitLab does not say which commit somebody approved, nor which account wrote a commit. So an approval counts only
    where the project drops approvals at a push and takes none of authors and committers.

    Args:
        built: the commit that is built.
        pull: `GET /projects/{id}/merge_requests/{iid}`.
        settings: `GET /projects/{id}/approvals`, `{}` where there is none.
        reviews: `GET /projects/{id}/merge_requests/{iid}/approvals`.
        commit: `GET /projects/{id}/repository/commits/{sha}/signature`, `{}` for a commit without one.
        checks: `GET /projects/{id}/pipelines/{head pipeline}/jobs`, all pages in one list.

    Raises:
        RecordError: the answers contradict each other, or lack what the record needs.
    """
    author = _text(pull, "author", "username")
    if pull.get("state") != "merged":
        raise RecordError(f"the merge request {pull.get('iid')} is not merged")
    if (pull.get("merge_commit_sha") or pull.get("squash_commit_sha") or _text(pull, "sha")) != built:
        raise RecordError("the commit that is built is not the one that the merge request was merged as")
    approvers = {_text(each, "user", "username") for each in _list(_field(reviews, "approved_by"))}
    if not _keeps_apart(settings):
        approvers = set()
    return {
        "commit": built,
        "commit_signed": _field(commit, "verification_status") in VERIFIED,
        "author": author,
        "approvers": sorted(
            name for name in approvers if name.casefold() != author.casefold() and not _is_gitlab_bot(name)
        ),
        "link": _text(pull, "web_url"),
        "checks": _passed_jobs(checks, pull),
    }


def _writers(pull: Any, commits: Any) -> set[str]:
    """Return who wrote or committed any part of a pull request, case-folded."""
    every = _list(commits)
    if len(every) != pull.get("commits"):
        raise RecordError(f"of {pull.get('commits')} commits of the pull request {len(every)} are given")
    writers = set()
    for each in every:
        for role in ("author", "committer"):
            name = _field(each, role, "login")
            if not isinstance(name, str) or not name:
                raise RecordError(
                    f"the {role} of {_text(each, 'sha')} has no account at the forge, so whoever approved may have "
                    "written it; commit with an address that belongs to an account"
                )
            writers.add(name.casefold())
    return writers


def _last_words(reviews: Any) -> dict[str, tuple[str, str]]:
    """Return the last verdict of each person, and the commit it was on. A remark takes no verdict back."""
    latest: dict[str, tuple[str, tuple[str, str]]] = {}
    for review in _list(reviews):
        user = review.get("user") or {}  # Somebody whose account is gone approves nothing.
        if user.get("type") != "User" or review.get("state") in {"COMMENTED", "PENDING"}:
            continue
        name, at = _text(review, "user", "login"), _text(review, "submitted_at")
        verdict = (_text(review, "state"), str(review.get("commit_id") or ""))
        if verdict[0] == "APPROVED" and review.get("author_association") not in TRUSTED:
            continue
        before, said = latest.get(name, ("", verdict))
        if at == before and said != verdict:
            raise RecordError(f"{name} gave two verdicts at {at}; ask for one more")
        if at >= before:
            latest[name] = (at, verdict)
    return {name: verdict for name, (_, verdict) in latest.items()}


def _passed_checks(checks: Any, head: str) -> list[str]:
    """Return the names of checks that passed: in each suite that has one of the name, with its last run."""
    runs = _list(_field(checks, "check_runs"))
    if _field(checks, "total_count") != len(runs):
        raise RecordError(f"of {_field(checks, 'total_count')} check runs {len(runs)} are given; fetch every page")
    last: dict[tuple[str, Any], Any] = {}
    for run in runs:
        if _text(run, "head_sha") != head:
            raise RecordError(f"the check {_text(run, 'name')} did not run on the last commit of the pull request")
        key = (_text(run, "name"), _field(run, "check_suite", "id"))
        if key not in last or str(run.get("started_at") or "") >= str(last[key].get("started_at") or ""):
            last[key] = run
    failed = {
        name
        for (name, _), run in last.items()
        if run.get("status") != "completed" or run.get("conclusion") != "success"
    }
    return sorted({name for name, _ in last} - failed)


def _passed_jobs(jobs: Any, pull: Any) -> list[str]:
    """Return the names of jobs that passed in the merge request's last pipeline."""
    pipeline, number = _field(pull, "head_pipeline", "id"), pull.get("iid")
    own = _field(pull, "head_pipeline", "sha") == _text(pull, "sha")
    if not own and _field(pull, "head_pipeline", "ref") != f"refs/merge-requests/{number}/merge":
        raise RecordError("the merge request's last pipeline did not run on its last commit")
    failed, names = set(), set()
    for job in _list(jobs):
        name = _text(job, "name")
        if _field(job, "pipeline", "id") != pipeline:
            raise RecordError(f"the job {name} is not of the merge request's last pipeline")
        names.add(name)
        if job.get("status") != "success":
            failed.add(name)
    return sorted(names - failed)


def _keeps_apart(settings: Any) -> bool:
    wanted = {
        "reset_approvals_on_push": True,
        "merge_requests_author_approval": False,
        "merge_requests_disable_committers_approval": True,
    }
    wrong = [name for name, value in wanted.items() if _field(settings, name) is not value]
    if wrong:
        print(f"No approval counts: the project's approval settings lack {', '.join(wrong)}.", file=sys.stderr)
    return not wrong


def _is_gitlab_bot(name: str) -> bool:
    """Whether an account is that of an access token, by the names GitLab gives them."""
    return name.startswith(("project_", "group_")) and "_bot" in name


def impact_counts(report: Any) -> dict[str, int]:
    """Return the counts of an impact report (`govctl policy impact --format json`)."""
    counts = _field(report, "counts")
    if not isinstance(counts, dict) or not all(type(value) is int for value in counts.values()):
        raise RecordError("the impact report has no counts; write it with --format json")
    return counts


def _field(document: Any, *path: str) -> Any:
    for part in path:
        document = document.get(part) if isinstance(document, dict) else None
    return document


def _text(document: Any, *path: str) -> str:
    found = _field(document, *path)
    if not isinstance(found, str) or not found.strip():
        raise RecordError(f"the forge's answer lacks {'.'.join(path)}")
    return found


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise RecordError("the forge's answer is not a list where one was expected; give every page in one list")
    return value


def _read(path: Path) -> Any:
    try:
        content = path.read_bytes()
        if len(content) > MAX_BYTES:
            raise RecordError(f"{path} is larger than {MAX_BYTES} bytes")
        return json.loads(content)
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} cannot be read as JSON: {error}") from error


def main() -> int:
    """Write the record to standard output or a file."""
    parser = argparse.ArgumentParser(description="Writes how a change of the policies came about.")
    forges = parser.add_subparsers(dest="forge", required=True)
    for forge, files in FILES.items():
        options = forges.add_parser(forge)
        options.add_argument("--built", required=True, help="the commit that is built")
        for name in files:
            options.add_argument(f"--{name}", type=Path, required=True)
        options.add_argument("--impact", type=Path, help="impact report (JSON)")
        options.add_argument("--out", type=Path)
    given = parser.parse_args()
    try:
        answers = [_read(getattr(given, name)) for name in FILES[given.forge]]
        record = (github if given.forge == "github" else gitlab)(given.built, *answers)
        if given.impact:
            record["impact"] = impact_counts(_read(given.impact))
    except (RecordError, AttributeError, TypeError) as error:
        print(f"Error: {error}. Nothing was written.", file=sys.stderr)
        return 1
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    if given.out:
        given.out.write_text(text)
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
