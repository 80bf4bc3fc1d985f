#!/usr/bin/env python3
"""Writes how a change of the policies came about, from what the forge says: for `govctl policy build --change`.

    change_record.py github --pull pull.json --reviews reviews.json --commit commit.json --checks checks.json
    change_record.py gitlab --pull request.json --reviews approvals.json --commit signature.json --checks jobs.json

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


class RecordError(Exception):
    """The forge's answers do not say who wrote, approved and checked the change."""


def github(pull: Any, reviews: Any, commit: Any, checks: Any) -> dict[str, Any]:
    """Return the record of a merged pull request.

    Args:
        pull: `GET /repos/{o}/{r}/pulls/{n}`.
        reviews: `GET /repos/{o}/{r}/pulls/{n}/reviews`, all pages in one list.
        commit: `GET /repos/{o}/{r}/commits/{sha}` of the commit that is built.
        checks: `GET /repos/{o}/{r}/commits/{head}/check-runs` of the pull request's last commit.
    """
    author, head = _text(pull, "user", "login"), _text(pull, "head", "sha")
    if pull.get("merged") is not True:
        raise RecordError(f"the pull request {pull.get('number')} is not merged")
    if _text(pull, "merge_commit_sha") != _text(commit, "sha"):
        raise RecordError("the commit that is built is not the one that the pull request was merged as")
    latest: dict[str, tuple[str, str]] = {}
    for review in sorted(_list(reviews), key=lambda each: _text(each, "submitted_at")):
        # Somebody whose account is gone approves nothing; a remark takes no verdict back.
        user = review.get("user") or {}
        if user.get("type") == "User" and review.get("state") != "COMMENTED":
            latest[_text(review, "user", "login")] = (_text(review, "state"), str(review.get("commit_id") or ""))
    approvers = [name for name, verdict in latest.items() if verdict == ("APPROVED", head) and not _same(name, author)]
    runs = _list(checks.get("check_runs") if isinstance(checks, dict) else None)
    by_name: dict[str, list[Any]] = {}
    for run in runs:
        if _text(run, "head_sha") == head:
            by_name.setdefault(_text(run, "name"), []).append(run)
    return {
        "commit": _text(commit, "sha"),
        "commit_signed": _field(commit, "commit", "verification", "verified") is True,
        "author": author,
        "approvers": sorted(approvers),
        "link": _text(pull, "html_url"),
        "checks": sorted(name for name, each in by_name.items() if _all_passed(each)),
    }


def gitlab(pull: Any, reviews: Any, commit: Any, checks: Any) -> dict[str, Any]:
    """Return the record of a merged merge request.

    GitLab drops approvals at a push if the project is set so; that setting belongs to the protection of the branch.

    Args:
        pull: `GET /projects/{id}/merge_requests/{iid}`.
        reviews: `GET /projects/{id}/merge_requests/{iid}/approvals`.
        commit: `GET /projects/{id}/repository/commits/{sha}/signature`, `{}` for a commit without one.
        checks: `GET /projects/{id}/pipelines/{head pipeline}/jobs`, all pages in one list.
    """
    author = _text(pull, "author", "username")
    if pull.get("state") != "merged":
        raise RecordError(f"the merge request {pull.get('iid')} is not merged")
    approvers = {_text(each, "user", "username") for each in _list(reviews.get("approved_by"))}
    by_name: dict[str, list[Any]] = {}
    for job in _list(checks):
        by_name.setdefault(_text(job, "name"), []).append(job)
    return {
        "commit": str(pull.get("merge_commit_sha") or pull.get("squash_commit_sha") or _text(pull, "sha")),
        "commit_signed": isinstance(commit, dict) and commit.get("verification_status") == "verified",
        "author": author,
        "approvers": sorted(name for name in approvers if not _same(name, author)),
        "link": _text(pull, "web_url"),
        "checks": sorted(name for name, each in by_name.items() if all(job.get("status") == "success" for job in each)),
    }


def impact_counts(report: Any) -> dict[str, int]:
    """Return the counts of an impact report (`govctl policy impact --format json`)."""
    counts = _field(report, "counts")
    if not isinstance(counts, dict) or not all(type(value) is int for value in counts.values()):
        raise RecordError("the impact report has no counts; write it with --format json")
    return counts


def _all_passed(runs: list[Any]) -> bool:
    """Whether each run of a check passed; one that was run again counts with its last."""
    last = max(runs, key=lambda run: str(run.get("started_at") or ""))
    return bool(last.get("status") == "completed" and last.get("conclusion") == "success")


def _same(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()


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
    parser.add_argument("forge", choices=["github", "gitlab"])
    for name in ("pull", "reviews", "commit", "checks"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--impact", type=Path, help="impact report (JSON)")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    try:
        answers = [_read(path) for path in (given.pull, given.reviews, given.commit, given.checks)]
        record = (github if given.forge == "github" else gitlab)(*answers)
        if given.impact:
            record["impact"] = impact_counts(_read(given.impact))
    except (RecordError, AttributeError) as error:
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
