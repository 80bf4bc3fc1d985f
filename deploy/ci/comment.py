#!/usr/bin/env python3
"""Puts together the comment on a change from what the steps of the review left: comment.py DIRECTORY.

Writes comment.md there. What the author of the change can put into it (names, messages) is inert: it stands in a fence
that it cannot close, or comes from the report, which made it so. Standard library only.
"""

import re
import sys
from pathlib import Path

MARKER = "<!-- govgateway policy impact -->"
"""First line, by which the pipeline finds the comment to replace."""

STEPS = ("check", "test", "build", "impact")
MAX_CHARACTERS = 64_000
"""GitHub takes 65,536."""
MAX_OUTPUT = 12_000
"""Of what a failed step said; its end is kept."""

CROSSED = 3
"""Exit status of the impact step when a threshold is crossed: the report is there and says which."""


def comment(directory: Path) -> str:
    """Return the comment, Markdown."""
    outcomes = {step: _outcome(directory / f"{step}.status") for step in STEPS}
    parts = [MARKER, " · ".join(f"{step}: {_word(outcome)}" for step, outcome in outcomes.items()), ""]
    for step, outcome in outcomes.items():
        if outcome and not (step == "impact" and outcome == CROSSED):
            parts += [
                f"**The step {step} failed.** The review ends here.",
                "",
                _fenced(_read(directory / f"{step}.txt")),
            ]
    report = _read(directory / "impact.md").removeprefix(MARKER).strip()
    if report:
        parts += [report, ""]
    text = "\n".join(parts)
    changes = _read(directory / "diff.md").strip()
    if changes:
        details = f"\n<details><summary>What changed in the policies</summary>\n\n{changes}\n\n</details>\n"
        fits = len(text) + len(details) <= MAX_CHARACTERS
        text += details if fits else "\nWhat changed in the policies is too long for a comment; see diff.md.\n"
    return text[:MAX_CHARACTERS]


def _outcome(path: Path) -> int | None:
    """Return the exit status of a step, None if it did not run."""
    text = _read(path).strip()
    return int(text) if text.isdecimal() else None


def _word(outcome: int | None) -> str:
    return {None: "not run", 0: "passed"}.get(outcome, "**failed**")


def _fenced(text: str) -> str:
    kept = text if len(text) <= MAX_OUTPUT else "…\n" + text[-MAX_OUTPUT:]
    longest = max((len(run) for run in re.findall(r"`+", kept)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{kept.strip()}\n{fence}\n"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


if __name__ == "__main__":
    given = Path(sys.argv[1])
    (given / "comment.md").write_text(comment(given), encoding="utf-8")
