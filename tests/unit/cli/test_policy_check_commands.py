"""govctl policy check, test and schema: exit statuses, documents, and other people's tools."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from gateway.authorization.schemas import schemas
from tests.unit.cli.conftest import Govctl

POLICIES = Path(__file__).resolve().parents[3] / "policies"
VIOLATION = {
    "title": "opa-fmt",
    "description": "File should be formatted",
    "category": "style",
    "level": "error",
    "related_resources": [{"description": "documentation", "ref": "https://docs.test/opa-fmt"}],
}
Tool = Callable[..., Path]


@pytest.fixture
def policies(tmp_path: Path, no_tools: Path) -> Path:
    return Path(shutil.copytree(POLICIES, tmp_path / "changed"))


@pytest.fixture(autouse=True)
def no_tools(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a directory of its own as the PATH, so that what this machine has installed plays no part."""
    directory = tmp_path_factory.mktemp("bin")
    monkeypatch.setenv("PATH", str(directory))
    return directory


@pytest.fixture
def tool(no_tools: Path) -> Tool:
    """Install a program that answers always the same, and writes down what it was asked."""

    def install(name: str, answer: str, *, code: int = 0, stream: int = 1) -> Path:
        asked = no_tools / f"{name}.asked"
        answered = no_tools / f"{name}.answer"
        answered.write_text(answer)
        program = no_tools / name
        script = f'#!/bin/sh\nprintf "%s\\n" "$@" > {asked}\n/bin/cat {answered} >&{stream}\nexit {code}\n'
        program.write_text(script)
        program.chmod(0o755)
        return asked

    return install


def append(directory: Path, file: str, text: str) -> None:
    path = directory / "govgateway" / file
    path.write_text(path.read_text() + text)


def rules(document: Any) -> set[tuple[str, str]]:
    return {(finding["severity"], finding["rule"]) for finding in document["findings"]}


class TestCheck:
    def test_the_configured_policies_are_good_and_named_as_before(self, govctl: Govctl) -> None:
        document = govctl("policy", "check", "--json").json
        assert document["ok"] is True
        assert len(document["data_digest"]) == 64
        assert document["revision"] == govctl("config", "check", "--json").json["policy_revision"]
        assert (document["errors"], document["warnings"]) == (0, 0)
        assert document["revision"] in govctl("policy", "check", "--strict").out

    def test_a_directory_needs_no_configuration(self, govctl: Govctl, policies: Path) -> None:
        (govctl.directory / "govgateway.yaml").unlink()
        assert govctl("policy", "check", str(policies), "--json").json["ok"] is True
        assert "govgateway.yaml" in govctl("policy", "check", code=1).err

    def test_systems_are_compared_with_the_models_of_a_configuration_only(self, govctl: Govctl, policies: Path) -> None:
        directory = govctl.directory / "policies"
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(policies, directory)
        append(directory, "systems/data.yaml", "\nidle: {risk: limited}\n")
        assert ("info", "unused-system") not in rules(govctl("policy", "check", str(directory), "--json").json)
        findings = govctl("policy", "check", "--json").json["findings"]
        assert "idle" in " ".join(each["message"] for each in findings if each["rule"] == "unused-system")

    def test_warnings_fail_only_if_they_are_to(self, govctl: Govctl, policies: Path) -> None:
        append(policies, "authz/model.rego", "\nlonely := 1\n")
        line = len((policies / "govgateway/authz/model.rego").read_text().splitlines())
        shown = govctl("policy", "check", str(policies)).out
        assert f"{policies}/govgateway/authz/model.rego:{line}: warning: " in shown
        assert "1 warnings" in shown
        document = govctl("policy", "check", str(policies), "--strict", "--json", code=1).json
        assert (document["ok"], document["errors"], document["warnings"]) == (False, 0, 1)
        assert document["findings"][0]["file"] == "govgateway/authz/model.rego"

    @pytest.mark.parametrize(
        ("file", "text", "last_line", "message"),
        [
            ("authz/model.rego", "\nx := http.send({})\n", True, "http.send"),
            ("authz/model.rego", "\nx := {\n", False, ""),
            ("roles/data.yaml", "\nodd: {permissions: [], colour: red}\n", False, "colour"),
        ],
    )
    def test_policies_that_do_not_load_are_an_error_with_a_place(
        self, govctl: Govctl, policies: Path, file: str, text: str, last_line: bool, message: str
    ) -> None:
        append(policies, file, text)
        document = govctl("policy", "check", str(policies), "--json", code=1).json
        assert (document["ok"], document["revision"], document["data_digest"]) == (False, None, None)
        (finding,) = document["findings"]
        assert (finding["severity"], finding["rule"], finding["file"]) == ("error", "load", f"govgateway/{file}")
        assert message in finding["message"]
        if last_line:
            assert finding["line"] == len((policies / "govgateway" / file).read_text().splitlines())
        assert "Not accepted (1 errors" in govctl("policy", "check", str(policies), code=1).out

    def test_every_problem_of_the_data_is_a_finding(self, govctl: Govctl, policies: Path) -> None:
        append(policies, "bindings/data.yaml", "\nteam:a: [nobody]\nteam:b: [noone]\n")
        findings = govctl("policy", "check", str(policies), "--json", code=1).json["findings"]
        assert [each["file"] for each in findings] == ["govgateway/bindings/data.yaml"] * 2

    def test_an_error_of_no_file_is_one_of_the_directory(self, govctl: Govctl, policies: Path) -> None:
        for path in policies.rglob("*.rego"):
            path.unlink()
        (finding,) = govctl("policy", "check", str(policies), "--json", code=1).json["findings"]
        assert (finding["severity"], finding["rule"], finding["file"], finding["line"]) == ("error", "load", "", 0)
        assert "holds no Rego file" in finding["message"]

    def test_a_directory_that_is_none_is_an_error(self, govctl: Govctl) -> None:
        assert "nowhere is not a directory" in govctl("policy", "check", "nowhere", code=1).err


class TestRegal:
    def test_without_regal_there_is_a_remark(self, govctl: Govctl, policies: Path) -> None:
        assert ("info", "regal-missing") in rules(govctl("policy", "check", str(policies), "--json").json)

    def test_its_violations_are_warnings(self, govctl: Govctl, policies: Path, tool: Tool) -> None:
        location = {"file": str(policies / "govgateway/authz/model.rego"), "row": 3, "col": 1, "text": "x"}
        answer = json.dumps({"violations": [{**VIOLATION, "location": location}], "summary": {}})
        asked = tool("regal", answer, code=3)
        document = govctl("policy", "check", str(policies), "--json").json
        (finding,) = (each for each in document["findings"] if each["rule"] == "regal/style/opa-fmt")
        assert (finding["severity"], finding["line"]) == ("warning", 3)
        assert finding["file"] == "govgateway/authz/model.rego"
        assert finding["remedy"] == "See https://docs.test/opa-fmt"
        assert asked.read_text().split() == ["lint", "--format", "json", str(policies)]
        govctl("policy", "check", str(policies), "--strict", code=1)

    @pytest.mark.parametrize(("answer", "stream"), [("it broke", 2), ('{"violations": 3}', 1), ("[]", 1), ("", 1)])
    def test_a_regal_that_gives_no_report_is_an_error(
        self, govctl: Govctl, policies: Path, tool: Tool, answer: str, stream: int
    ) -> None:
        tool("regal", answer, code=1, stream=stream)
        assert ("error", "regal-failed") in rules(govctl("policy", "check", str(policies), "--json", code=1).json)


class TestWithOpa:
    def test_a_missing_opa_is_an_error(self, govctl: Govctl, policies: Path) -> None:
        document = govctl("policy", "check", str(policies), "--with-opa", "--json", code=1).json
        assert ("error", "opa-missing") in rules(document)

    def test_what_opa_refuses_is_an_error(self, govctl: Govctl, policies: Path, tool: Tool) -> None:
        location = {"file": str(policies / "govgateway/authz/model.rego"), "row": 4, "col": 1}
        error = {"message": "unused argument", "code": "rego_compile_error", "location": location}
        asked = tool("opa", json.dumps({"errors": [error]}), code=1, stream=2)
        document = govctl("policy", "check", str(policies), "--with-opa", "--json", code=1).json
        (finding,) = (each for each in document["findings"] if each["severity"] == "error")
        assert (finding["rule"], finding["line"]) == ("opa/rego_compile_error", 4)
        assert finding["file"] == "govgateway/authz/model.rego"
        assert asked.read_text().split()[:2] == ["check", "--strict"]

    @pytest.mark.parametrize("answer", ["", "{}\n"])
    def test_an_opa_that_accepts_adds_nothing(self, govctl: Govctl, policies: Path, tool: Tool, answer: str) -> None:
        tool("opa", answer)
        assert govctl("policy", "check", str(policies), "--with-opa", "--json").json["errors"] == 0

    def test_an_opa_that_gives_no_report_is_an_error(self, govctl: Govctl, policies: Path, tool: Tool) -> None:
        tool("opa", "Segmentation fault", code=139, stream=2)
        document = govctl("policy", "check", str(policies), "--with-opa", "--json", code=1).json
        assert ("error", "opa-failed") in rules(document)


class TestTest:
    def test_the_configured_policies_pass_as_a_list(self, govctl: Govctl) -> None:
        results = govctl("policy", "test", "--json").json
        assert results
        assert all(result["passed"] and {"file", "name", "detail"} <= result.keys() for result in results)

    def test_a_directory_needs_no_configuration(self, govctl: Govctl, policies: Path) -> None:
        (govctl.directory / "govgateway.yaml").unlink()
        assert "tests passed." in govctl("policy", "test", str(policies)).out

    def test_a_failing_test_is_shown_with_its_place(self, govctl: Govctl, policies: Path) -> None:
        path = policies / "govgateway" / "authz" / "odd_test.rego"
        path.write_text("package govgateway.odd_test\n\ntest_no if false\n\ntodo_test_later if false\n")
        shown = govctl("policy", "test", str(policies), "--run", "odd_test", code=1).out
        assert "govgateway/authz/odd_test.rego:3" in shown
        assert "0 of 1 tests passed; 1 skipped" in shown

    def test_a_selection_of_nothing_fails(self, govctl: Govctl, policies: Path) -> None:
        assert "No test ran." in govctl("policy", "test", str(policies), "--run", "no_such_test", code=1).out

    def test_a_bad_expression_is_refused(self, govctl: Govctl, policies: Path) -> None:
        assert "--run" in govctl("policy", "test", str(policies), "--run", "(", code=2).err

    def test_coverage_is_shown_and_bounded(self, govctl: Govctl, policies: Path) -> None:
        document = govctl("policy", "test", str(policies), "--coverage", "--json").json
        assert document["coverage"]["percent"] > 90
        assert all(result["passed"] for result in document["tests"])
        few = ("policy", "test", str(policies), "--run", "separat|apart|duties", "--coverage")
        assert "govgateway/authz/region.rego" in govctl(*few).out
        govctl("policy", "test", str(policies), "--fail-under", "90")
        assert "less than 99 %" in govctl(*few, "--fail-under", "99", code=1).err

    def test_verdicts_are_written_as_junit(self, govctl: Govctl, policies: Path) -> None:
        govctl("policy", "test", str(policies), "--junit", "report.xml")
        root = ElementTree.parse(govctl.directory / "report.xml").getroot()  # noqa: S314 - written above
        assert root.get("failures") == "0"
        assert int(root.get("tests", "")) == len(root.findall("testsuite/testcase")) > 0

    def test_a_report_that_cannot_be_written_is_an_error(self, govctl: Govctl, policies: Path) -> None:
        shown = govctl("policy", "test", str(policies), "--junit", "no/such/report.xml", code=1).err
        assert "no/such/report.xml cannot be written" in shown


class TestSchema:
    def test_tables_are_listed(self, govctl: Govctl) -> None:
        shown = govctl("policy", "schema").out
        assert all(f"govgateway/{table}/data.yaml" in shown for table in schemas())

    def test_a_table_has_its_schema(self, govctl: Govctl) -> None:
        assert govctl("policy", "schema", "roles").json == schemas()["roles"]

    def test_an_unknown_table_is_told_with_the_nearest(self, govctl: Govctl) -> None:
        assert "did you mean 'roles'?" in govctl("policy", "schema", "role", code=1).err
