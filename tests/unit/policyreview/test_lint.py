"""Each kind of finding, on a small policy set that has it and one that does not."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.authorization.policy_set import load_policy_tree
from gateway.authorization.policy_tree import PolicyTree, read_policy_tree
from gateway.authorization.rego import Module
from gateway.policyreview.findings import Finding, in_order
from gateway.policyreview.lint import lint
from gateway.policyreview.rego_syntax import parse
from gateway.policyreview.shadowing import shadowing
from tests.unit.policyreview.conftest import NOW, deepcopied

POLICIES = Path(__file__).resolve().parents[3] / "policies"

DECISION = """package govgateway.authz

default decision := {"allow": false, "reasons": ["default_deny"], "obligations": [], "cache_seconds": 0}

decision := {"allow": true, "reasons": [], "obligations": [], "cache_seconds": 0} if {
	granted
	not refused
}

granted if {
	some role in input.principal.roles
	some permission in data.govgateway.roles[role].permissions
	input.action in permission.actions
}

refused if input.action == "refused"
"""
READER = {"permissions": [{"actions": ["model.infer"], "resources": ["*"]}]}
TABLES: dict[str, Any] = {
    "roles": {"reader": READER},
    "bindings": {"team:research": ["reader"]},
    "reasons": {"default_deny": {"message": "No rule."}},
}


def found(
    more: str = "",
    *,
    systems: frozenset[str] | None = None,
    files: dict[str, str] | None = None,
    data: dict[str, Any] | None = None,
    **tables: Any,
) -> list[Finding]:
    """Return the findings on the policies above, with more rules, more files and other tables."""
    contents = {"authz/a": DECISION + more, **(files or {})}
    tree = {f"govgateway/{name}.rego": text.encode() for name, text in contents.items()}
    for table, content in {**TABLES, **tables, **(data or {})}.items():
        text = content if isinstance(content, str) else yaml.safe_dump(deepcopied(content), sort_keys=False)
        tree[f"govgateway/{table}/data.yaml"] = text.encode()
    policies = PolicyTree(Path("policies"), tree)
    return lint(policies, load_policy_tree(policies, engine="opa"), now=NOW, systems=systems)


def hidden(*contents: str, package: str = "p") -> list[Finding]:
    """Return what is hidden in the files of one package; what they hold begins at line 3."""
    modules = [Module(f"{number}.rego", f"package {package}\n\n{text}") for number, text in enumerate(contents)]
    return in_order(shadowing(parse(modules)))


def only(findings: list[Finding], rule: str) -> Finding:
    (finding,) = findings
    assert finding.rule == rule
    return finding


def test_policies_without_a_flaw_have_no_findings() -> None:
    assert found() == []


def test_the_starter_policies_give_no_warnings() -> None:
    tree = read_policy_tree(POLICIES)
    findings = lint(tree, load_policy_tree(tree), now=NOW)
    assert [each for each in findings if each.severity != "info"] == []


class TestUnusedRules:
    def test_a_rule_that_nothing_refers_to(self) -> None:
        finding = only(found('\nlonely if input.action == "x"\n'), "unused-rule")
        assert finding.severity == "warning"
        assert (finding.file, finding.line) == ("govgateway/authz/a.rego", 18)
        assert "the rule data.govgateway.authz.lonely" in finding.message

    def test_rules_that_only_refer_to_each_other(self) -> None:
        findings = found('\none if two\n\ntwo if helper("x")\n\nhelper(x) if x == input.action\n')
        assert [(each.line, each.rule) for each in findings] == [
            (18, "unused-rule"),
            (20, "unused-rule"),
            (22, "unused-rule"),
        ]
        assert "the function data.govgateway.authz.helper" in findings[2].message

    def test_definitions_of_one_name_are_one_finding(self) -> None:
        assert only(found("\nlonely contains 1\n\nlonely contains 2\n"), "unused-rule").line == 18

    def test_a_rule_of_another_package_is_used_by_its_full_name_and_through_an_import(self) -> None:
        helpers = "package govgateway.helpers\n\nfull if input.action\n\nimported if input.action\n\nneither if input.action\n"
        uses = '\nrefused if data.govgateway.helpers["full"]\n'
        other = "package govgateway.authz\n\nimport data.govgateway.helpers.imported as known\n\nrefused if known\n"
        finding = only(found(uses, files={"helpers/h": helpers, "authz/b": other}), "unused-rule")
        assert (finding.file, finding.line) == ("govgateway/helpers/h.rego", 7)

    def test_a_rule_used_in_a_computed_part_a_comprehension_or_a_head_is_used(self) -> None:
        more = """
refused if data.govgateway.roles[computed]

refused if count({x | x := listed[_]}) > 0

refused if headed.x

computed := "reader"

listed := ["a"]

headed[key] := value if some key, value in source

source := {"x": true}
"""
        assert found(more) == []

    def test_one_part_of_a_rule_in_parts_is_used(self) -> None:
        more = "\nrefused if parts.one\n\nparts.one if input.action\n\nparts.two if input.action\n"
        assert "data.govgateway.authz.parts.two" in only(found(more), "unused-rule").message

    def test_tests_keep_no_rule_alive_and_are_told_of(self) -> None:
        test = "package govgateway.authz_test\n\ntest_it if data.govgateway.authz.lonely\n\nhelper := 1\n"
        finding = only(found("\nlonely := true\n", files={"authz/a_test": test}), "unused-rule")
        assert finding.message.endswith("; only tests use it")

    def test_an_entry_point_of_its_own_is_used_with_what_it_needs(self) -> None:
        more = "\n# METADATA\n# title: Another\n# entrypoint: true\nother if needed\n\nneeded := true\n"
        assert found(more) == []
        assert len(found(more.replace("# METADATA\n", ""))) == 2

    def test_a_package_of_its_own_can_be_an_entry_point(self) -> None:
        package = "# METADATA\n# entrypoint: true\npackage govgateway.other\n\nanything := 1\n"
        assert found(files={"other/o": package}) == []


class TestShadowing:
    @pytest.mark.parametrize(
        "body",
        [
            "some granted in input.list",
            "some granted, _ in input.list",
            "some [_, granted] in input.list",
            'some {"a": granted} in input.list',
            "some granted; input.list[granted]",
            "granted := input.list",
            "[granted, _] := input.list",
            "every granted in input.list { granted > 1 }",
            "every granted, _ in input.list { granted > 1 }",
            "count([1 | some granted in input.list]) > 0",
            "not {granted | some granted in input.list}",
            'x := {"k": [granted | granted := 1]}',
        ],
    )
    def test_a_variable_hides_a_rule(self, body: str) -> None:
        finding = only(hidden(f"granted := 1\n\nrule if {{\n\t{body}\n}}\n"), "shadowing")
        assert (finding.severity, finding.file, finding.line) == ("warning", "0.rego", 6)
        assert finding.message == "the variable granted hides the rule granted (0.rego:3)"

    def test_an_argument_hides_a_rule_of_another_file_of_the_package(self) -> None:
        finding = only(hidden("a := 1\n", 'f([{"x": a}]) := 1\n'), "shadowing")
        assert (finding.file, finding.line) == ("1.rego", 3)
        assert finding.message == "the variable a hides the rule a (0.rego:3)"

    def test_a_variable_in_a_comprehension_hides_the_one_around_it(self) -> None:
        finding = only(hidden("rule if {\n\tsome x in [1]\n\tcount({x | some x in [2]}) > 1\n}\n"), "shadowing")
        assert (finding.line, finding.message) == (5, "the variable x hides the variable of line 4")

    def test_a_variable_in_the_term_of_a_comprehension_hides_one_of_its_query(self) -> None:
        finding = only(hidden("rule := [y |\n\tsome x in [1]\n\ty := {x | some x in [2]}\n]\n"), "shadowing")
        assert finding.message == "the variable x hides the variable of line 4"

    def test_a_variable_hides_an_argument_also_after_else(self) -> None:
        findings = hidden("f(x) if {\n\tsome x in [1]\n} else if {\n\tx := 1\n}\n")
        assert [(each.line, each.message) for each in findings] == [
            (4, "the variable x hides the variable of line 3"),
            (6, "the variable x hides the variable of line 3"),
        ]

    def test_names_beside_each_other_hide_nothing(self) -> None:
        assert (
            hidden("rule if {\n\tcount({x | some x in [1]}) > 0\n\tcount({x | some x in [2]}) > 0\n\tx := 1\n}\n") == []
        )

    def test_a_name_in_an_equation_an_index_or_a_replacement_declares_nothing(self) -> None:
        assert hidden("listed := 1\n\nrule if {\n\tlisted = input.list\n\tinput.a[listed]\n}\n") == []

    @pytest.mark.parametrize(
        ("name", "builtins"), [("count", "the builtin count"), ("object", "the builtins object.…")]
    )
    def test_a_variable_or_a_rule_hides_builtins(self, name: str, builtins: str) -> None:
        assert only(hidden(f"rule if {name} := 1\n"), "shadowing").message == f"the variable {name} hides {builtins}"
        assert only(hidden(f"{name} := 1\n"), "shadowing").message == f"the rule {name} hides {builtins}"

    def test_a_variable_or_a_rule_hides_an_import(self) -> None:
        imported = "import data.roles as known\n\n"
        message = "hides the import of data.roles"
        assert only(hidden(f"{imported}rule if known := 1\n"), "shadowing").message == f"the variable known {message}"
        assert only(hidden(f"{imported}known := 1\n"), "shadowing").message == f"the rule known {message}"

    def test_a_variable_hides_the_input(self) -> None:
        assert "hides the document input" in only(hidden("f(input) := 1\n"), "shadowing").message

    def test_in_tests_it_is_a_remark(self) -> None:
        assert only(hidden("a := 1\n\nf(a) := a\n", package="p_test"), "shadowing").severity == "info"

    def test_policies_that_load_are_looked_through_with_their_tests(self) -> None:
        test = "package govgateway.authz_test\n\nhelper := 1\n\ntest_it if {\n\thelper := 2\n\thelper == 2\n}\n"
        findings = found("\nrefused if f(input.action)\n\nf(granted) if granted > 1\n", files={"authz/a_test": test})
        assert [(each.rule, each.severity) for each in findings] == [("shadowing", "warning"), ("shadowing", "info")]


class TestTables:
    @pytest.mark.parametrize(
        ("first", "second", "covered"),
        [
            ((["model.infer"], ["*"]), (["model.infer"], ["small-*"]), 1),
            ((["model.infer"], ["small-a"]), (["model.infer", "model.embed"], ["small-*", "x"]), 0),
            ((["model.infer"], ["small-*"]), (["model.infer"], ["small-*"]), 1),
            ((["model.infer"], ["a*b"]), (["model.infer"], ["a*x*b", "axb"]), 1),
            ((["model.infer"], ["small-*"]), (["model.embed"], ["small-*"]), None),
            ((["model.infer"], ["small-*"]), (["model.infer"], ["*-small"]), None),
            ((["model.infer"], ["a*x*b"]), (["model.infer"], ["a*b*"]), 0),
            ((["model.infer", "model.embed"], ["a"]), (["model.infer"], ["a", "b"]), None),
        ],
    )
    def test_a_permission_covered_by_another(self, first: Any, second: Any, covered: int | None) -> None:
        permissions = [{"actions": actions, "resources": resources} for actions, resources in (first, second)]
        findings = found(roles={"reader": {"permissions": permissions}})
        assert [each.rule for each in findings] == ["covered-permission"] * (covered is not None)
        if covered is not None:
            assert findings[0].message.endswith(f"permission number {2 - covered} as well")

    def test_findings_name_the_line_of_an_entry(self) -> None:
        roles = """# a comment
reader:
  description: reads
  permissions:
    - actions: [model.infer]
      resources: ["*"]
    - actions:
        - model.infer
      resources: [x]
nobody:
  permissions: []
"""
        findings = [(each.rule, each.file, each.line) for each in found(roles=roles)]
        assert findings == [
            ("covered-permission", "govgateway/roles/data.yaml", 7),
            ("unbound-role", "govgateway/roles/data.yaml", 10),
        ]

    def test_a_role_that_nobody_has_is_a_remark(self) -> None:
        finding = only(found(roles={"reader": READER, "writer": READER}), "unbound-role")
        assert (finding.severity, finding.message) == ("info", "nobody has the role writer")

    def test_a_role_that_is_granted_only_is_bound(self) -> None:
        bindings = {"team:a": ["reader"], "team:b": [grant("writer", "2030-01-01")]}
        assert found(roles={"reader": READER, "writer": READER}, bindings=bindings) == []

    def test_a_role_bound_twice(self) -> None:
        finding = only(found(bindings={"team:a": ["reader", "reader"]}), "repeated-binding")
        assert (finding.severity, finding.file, finding.line) == ("warning", "govgateway/bindings/data.yaml", 3)

    def test_a_grant_of_what_is_bound_for_good(self) -> None:
        finding = only(found(bindings={"team:a": [grant("reader", "2030-01-01"), "reader"]}), "repeated-binding")
        assert "has it by reader anyway" in finding.message
        assert finding.line == 2

    def test_a_grant_within_another(self) -> None:
        bindings = {"team:a": [grant("reader", "2030-01-01"), grant("reader", "2029-01-01")]}
        assert only(found(bindings=bindings), "repeated-binding").line > 2

    def test_grants_that_only_overlap_or_differ_in_kind_add_up(self) -> None:
        later = {**grant("reader", "2031-01-01"), "not_before": "2029-01-01T00:00:00Z"}
        emergency = {**grant("writer", "2028-01-01"), "not_before": "2027-12-31T06:00:00Z", "break_glass": True}
        within = {
            **grant("writer", "2027-12-31"),
            "not_before": "2027-12-31T07:00:00Z",
            "not_after": "2027-12-31T08:00:00Z",
        }
        bindings = {"team:a": [grant("reader", "2030-01-01"), later], "team:b": [emergency, within]}
        assert found(roles={"reader": READER, "writer": READER}, bindings=bindings) == []

    def test_the_same_role_through_a_team_and_by_name_is_not_repeated(self) -> None:
        assert found(bindings={"team:a": ["reader"], "spiffe://t.test/agent/ann": ["reader"]}) == []

    def test_an_expired_grant_is_a_remark(self) -> None:
        finding = only(found(bindings={"team:a": ["reader", grant("reader", "2020-01-01")]}), "expired-grant")
        assert (finding.severity, finding.line) == ("info", 3)
        assert "2020-01-01" in finding.message

    def test_a_system_that_no_model_belongs_to(self) -> None:
        entry = {"risk": "limited", "data_classes": []}
        register = {"assistant": entry, "idle": entry}
        assert found(data={"systems": register}) == []
        finding = only(found(data={"systems": register}, systems=frozenset({"assistant"})), "unused-system")
        assert (finding.severity, finding.file) == ("info", "govgateway/systems/data.yaml")
        assert finding.message.endswith("idle")


class TestReasons:
    DENY = """
decision := {"allow": false, "reasons": sort(objections), "obligations": [], "cache_seconds": 0} if {
	not granted
	count(objections) > 0
}

objections contains "too_late" if input.action == "late"
"""

    def test_a_code_that_is_not_explained(self) -> None:
        finding = only(found(self.DENY), "reason-unexplained")
        assert (finding.severity, finding.file, finding.line) == ("warning", "govgateway/authz/a.rego", 23)
        assert "too_late" in finding.message

    def test_a_code_that_is_explained(self) -> None:
        assert found(self.DENY, reasons={**TABLES["reasons"], "too_late": {"message": "Too late."}}) == []

    def test_a_code_that_no_rule_gives_is_a_remark(self) -> None:
        own = ("policy_malformed", "delegation_regions_conflict", "default_deny")
        reasons = {code: {"message": "No."} for code in (*own, "gone")}
        finding = only(found(reasons=reasons), "reason-unused")
        assert (finding.severity, finding.line) == ("info", 7)
        assert "gone" in finding.message


class TestWholeInput:
    def test_a_file_that_reads_the_input_as_a_whole(self) -> None:
        other = "package govgateway.authz\n\ngranted if {\n\tinput.action\n\tcount(input) > 100\n}\n"
        finding = only(found(files={"authz/b": other}), "whole-input")
        assert (finding.severity, finding.file, finding.line) == ("warning", "govgateway/authz/b.rego", 5)


def grant(role: str, until: str) -> dict[str, Any]:
    return {"role": role, "not_after": f"{until}T00:00:00Z", "reason": "A try.", "approved_by": "grace@t.test"}
