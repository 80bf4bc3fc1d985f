"""Has other people's tools look at a policy directory: Regal, and the checks of OPA."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import orjson

from gateway.policyreview.findings import Finding

TIMEOUT_SECONDS = 120
"""Longest a tool may take (seconds)."""


def regal_findings(directory: Path) -> list[Finding]:
    """Return what Regal finds; one remark where it is not installed.

    Its violations are warnings here: they keep no policy from being used.
    """
    program = shutil.which("regal")
    if program is None:
        remedy = "Install Regal (regal on the PATH) to have more rules checked."
        return [Finding("info", "regal-missing", "", 0, "Regal is not installed, so it was not asked", remedy)]
    document = _run([program, "lint", "--format", "json", str(directory)])
    if not isinstance(document, dict) or not isinstance(document.get("violations"), list):
        return [_unusable("regal", document)]
    return [_violation(each, directory) for each in document["violations"]]


def opa_findings(directory: Path) -> list[Finding]:
    """Return what `opa check --strict` finds, which are errors, as is an OPA that is not installed."""
    program = shutil.which("opa")
    if program is None:
        remedy = "Install OPA (opa on the PATH), or leave out --with-opa."
        return [Finding("error", "opa-missing", "", 0, "OPA is not installed", remedy)]
    document = _run([program, "check", "--strict", "--bundle", "--format", "json", str(directory)])
    if document == {}:
        return []
    if not isinstance(document, dict) or not isinstance(document.get("errors"), list):
        return [_unusable("opa", document)]
    return [_opa_error(each, directory) for each in document["errors"]]


def _run(command: list[str]) -> Any:
    """Return the JSON that a tool writes, {} if it succeeds silently, and else what it says."""
    try:
        done = subprocess.run(  # noqa: S603 - a program of the PATH, on the operator's own directory
            command, capture_output=True, timeout=TIMEOUT_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    for output in (done.stdout, done.stderr):
        try:
            return orjson.loads(output)
        except orjson.JSONDecodeError:
            continue
    if done.returncode == 0 and not done.stdout.strip():
        return {}
    return (done.stderr or done.stdout).decode(errors="replace").strip()


def _violation(violation: Any, directory: Path) -> Finding:
    place = violation.get("location", {})
    category, title = violation.get("category", ""), violation.get("title", "")
    documents = [each["ref"] for each in violation.get("related_resources", ()) if each.get("ref")]
    return Finding(
        "warning",
        f"regal/{category}/{title}",
        _relative(place.get("file", ""), directory),
        int(place.get("row", 0)),
        str(violation.get("description", title)),
        f"See {documents[0]}" if documents else "See Regal's documentation of the rule.",
    )


def _opa_error(error: Any, directory: Path) -> Finding:
    place = error.get("location") or {}
    return Finding(
        "error",
        f"opa/{error.get('code', 'error')}",
        _relative(place.get("file", ""), directory),
        int(place.get("row", 0)),
        str(error.get("message", "")),
        "Correct it; OPA refuses these policies.",
    )


def _unusable(tool: str, said: Any) -> Finding:
    text = said if isinstance(said, str) and said else "an answer in an unknown form"
    remedy = f"Run {tool} by hand on the policies; its version may be too old or too new."
    return Finding("error", f"{tool}-failed", "", 0, f"{tool} gave no report: {text}", remedy)


def _relative(file: str, directory: Path) -> str:
    path = Path(file.removeprefix("file://"))
    for root in (directory, directory.resolve()):
        if path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return file
