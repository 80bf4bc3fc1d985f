"""govctl policy test and schema."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.authorization.policy_data_base import did_you_mean
from gateway.authorization.policy_set import load_policy_set
from gateway.authorization.rego_tests import RegoTestResult, run_rego_tests
from gateway.authorization.schemas import schemas
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, print_json, print_table, say
from gateway.cli.policy.base import DirectoryArgument, EngineOption, app, policy_directory
from gateway.policyreview.coverage import Coverage, ranges
from gateway.policyreview.inert import plain
from gateway.policyreview.junit import junit_xml


@app.command("test")
def run_tests(
    directory: DirectoryArgument = None,
    run: Annotated[str, typer.Option(help="Run the tests whose full name matches this regular expression.")] = "",
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Show which lines of the policies the tests evaluate.")
    ] = False,
    fail_under: Annotated[
        float | None, typer.Option(min=0, max=100, help="With a coverage below this (percent), exit status 1.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write the verdicts to this file as JUnit XML.")] = None,
    engine: EngineOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Run the Rego tests in the engine that decides; exit status 1 if one fails or there is none."""
    wanted = _pattern(run)
    directory, engine = policy_directory(directory, engine, config)
    policies = load_policy_set(directory, engine=engine)
    measured = Coverage(policies.modules) if coverage or fail_under is not None else None
    results = run_rego_tests(policies, wanted=wanted, watcher=measured)
    if junit is not None:
        _write(junit, junit_xml(results))
    if json:
        tests = [_document(result) for result in results]
        print_json({"tests": tests, "coverage": _coverage_document(measured)} if measured else tests)
    else:
        _print_results(results, measured)
    if fail_under is not None and measured is not None and measured.percent < fail_under:
        fail(f"the tests evaluate {measured.percent:.1f} % of the lines, less than {fail_under:g} %; add tests.")
    if not results or any(not result.passed for result in results):
        raise typer.Exit(1)


@app.command()
def schema(table: Annotated[str, typer.Argument(help="Name of the table; without one, lists them.")] = "") -> None:
    """Print the JSON Schema of a table of the policy data, which editors check its data.yaml with."""
    known = schemas()
    if not table:
        print_table(
            ["table", "file"], ([name, f"govgateway/{name}/data.yaml"] for name in known), empty="There are no tables."
        )
    elif table in known:
        print_json(known[table])
    else:
        fail(f"there is no table {plain(table)!r}; {did_you_mean(table, known, 'tables')}")


def _pattern(text: str) -> re.Pattern[str] | None:
    try:
        return re.compile(text) if text else None
    except re.error as error:
        raise typer.BadParameter(f"{text!r} is no regular expression: {error}", param_hint="--run") from None


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        fail(f"{path} cannot be written: {error.strerror}.")


def _document(result: RegoTestResult) -> dict[str, Any]:
    return {
        "file": result.file,
        "line": result.line,
        "name": result.name,
        "passed": result.passed,
        "skipped": result.skipped,
        "detail": result.detail,
        "seconds": round(result.seconds, 6),
    }


def _coverage_document(measured: Coverage) -> dict[str, Any]:
    files = [
        {"file": each.file, "percent": round(each.percent, 2), "covered": each.covered, "missed": each.missed}
        for each in measured.files()
    ]
    return {"percent": round(measured.percent, 2), "files": files}


def _print_results(results: tuple[RegoTestResult, ...], measured: Coverage | None) -> None:
    failed = [result for result in results if not result.passed]
    if failed:
        rows = ([f"{r.file}:{r.line}", r.name, plain(r.detail, 1000)] for r in failed)
        print_table(["file", "test", "why"], rows, empty="")
    if measured is not None:
        rows = ([each.file, f"{each.percent:.1f} %", ranges(each.missed)] for each in measured.files())
        print_table(["file", "covered", "lines that no test evaluates"], rows, empty="")
        say(f"{measured.percent:.1f} % of the lines are covered.")
    if not results:
        say("No test ran.")
        return
    skipped = sum(result.skipped for result in results)
    also = f"; {skipped} skipped (todo_test_)" if skipped else ""
    counted = len(results) - skipped
    say(f"{counted - len(failed)} of {counted} tests passed{also}.")
