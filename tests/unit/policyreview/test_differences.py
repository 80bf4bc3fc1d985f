"""Differences: what changed, in the words of the policies."""

from typing import Any

import orjson
import pytest

from gateway.policyreview.differences import FieldChange, RuleChange, differences
from gateway.policyreview.grants import Granted
from gateway.policyreview.report_json import differences_document
from gateway.policyreview.revisions import Revision
from tests.unit.policyreview.conftest import REGO, TABLES, revision

BASE = revision()
DECISION = "govgateway/authz/decision.rego"
GRANT = {"role": "auditor", "not_before": "2027-01-01T00:00:00Z", "not_after": "2027-02-01T00:00:00Z", "reason": "audit", "approved_by": "grace"}  # fmt: skip


def changed(**tables: Any) -> Revision:
    return revision({name: {**TABLES[name], **content} for name, content in tables.items()})


def test_nothing_changed() -> None:
    assert not differences(BASE, revision(name="elsewhere"))


def test_a_role_says_what_it_gains_and_loses() -> None:
    reader = {"permissions": [{"actions": ["model.infer"], "resources": ["large"]}], "max_output_tokens": 10}
    found = differences(BASE, changed(roles={"reader": reader}))
    (role,) = found.roles
    assert (role.role, role.change) == ("reader", "changed")
    assert role.gained == (("model.infer", "large"),)
    assert role.lost == (("model.infer", "small-*"),)
    assert role.fields == (FieldChange("max_output_tokens", 1000, 10),)
    (subject,) = found.subjects
    assert (subject.subject, subject.gained, subject.lost) == ("team:research", (), ())
    assert (subject.access_gained, subject.access_lost) == (role.gained, role.lost)


def test_roles_come_and_go() -> None:
    roles = {name: role for name, role in TABLES["roles"].items() if name != "auditor"}
    without = revision({"roles": roles, "separation": {"duties": []}})
    (gone,) = differences(BASE, without).roles
    (come,) = differences(without, BASE).roles
    assert (gone.change, gone.lost) == ("removed", (("object.read", "*"),))
    assert (come.change, come.gained) == ("added", (("object.read", "*"),))


def test_a_grant_is_shown_with_its_dates_and_its_effect() -> None:
    found = differences(BASE, changed(bindings={"spiffe://t.test/agent/ann": ["embedder", GRANT]}))
    (subject,) = found.subjects
    assert subject.gained == ("auditor (from 2027-01-01T00:00:00Z until 2027-02-01T00:00:00Z)",)
    assert subject.access_gained == (("object.read", "*"),)
    assert found.new_access == (Granted("spiffe://t.test/agent/ann", "auditor", "object.read", "*"),)


def test_a_role_gained_that_allows_nothing_new_is_no_new_access() -> None:
    roles = {"second": {"permissions": TABLES["roles"]["reader"]["permissions"]}}
    base = changed(roles=roles)
    found = differences(base, changed(roles=roles, bindings={"team:research": ["reader", "second"]}))
    assert [each.gained for each in found.subjects] == [("second",)]
    assert found.new_access == ()


@pytest.mark.parametrize(
    ("table", "content", "entry", "fields"),
    [
        ("systems", {"assistant": {"risk": "high", "data_classes": []}}, ("systems", "assistant", "changed"), [("risk", "limited", "high")]),
        ("systems", {"assistant": {"risk": "limited", "data_classes": [], "oversight": {"overseers": ["a"]}, "regions": ["eu"]}}, ("systems", "assistant", "changed"), [("oversight.overseers", None, ["a"]), ("regions", None, ["eu"])]),
        ("systems", {"second": {"risk": "minimal"}}, ("systems", "second", "added"), [("risk", None, "minimal")]),
        ("limits", {"quota": [{"name": "all", "scope": "agent", "tokens_per_day": 5}]}, ("limits.quota", "all", "changed"), [("tokens_per_day", 1000, 5)]),
        ("limits", {"quota": []}, ("limits.quota", "all", "removed"), [("name", "all", None), ("scope", "agent", None), ("tokens_per_day", 1000, None)]),
        ("reasons", {"default_deny": {"message": "No."}}, ("reasons", "default_deny", "changed"), [("message", "No rule.", "No.")]),
        ("separation", {"duties": [{**TABLES["separation"]["duties"][0], "why": "because"}]}, ("separation.duties", "inspection", "changed"), [("why", "nobody inspects himself", "because")]),
    ],
)  # fmt: skip
def test_tables_say_which_entry_changed_and_how(
    table: str, content: Any, entry: tuple[str, str, str], fields: list[tuple[str, Any, Any]]
) -> None:
    found = differences(BASE, changed(**{table: content}))
    (change,) = found.entries
    assert (change.table, change.entry, change.change) == entry
    assert change.fields == tuple(FieldChange(*each) for each in fields)
    assert not found.rules


def test_classes_of_data_are_entries() -> None:
    one = revision({"regions": {"data_classes": {"personal": {"regions": ["eu"]}}}})
    other = revision({"regions": {"data_classes": {"personal": {"regions": ["eu", "us"]}}}})
    (change,) = differences(one, other).entries
    assert (change.table, change.entry) == ("regions.data_classes", "personal")
    assert change.fields == (FieldChange("regions", ["eu"], ["eu", "us"]),)


def test_layout_and_comments_are_no_change_of_a_rule() -> None:
    moved = REGO.replace("\t", "    ").replace("\n\n", "\n\n# why\n\n\n")
    assert moved != REGO
    assert not differences(BASE, revision(rego=moved))


@pytest.mark.parametrize(
    ("before", "after", "rule", "change"),
    [
        ('"prohibited"\n', '"high"\n', "govgateway.authz.objections", "changed"),
        ("count(granting) > 0", "count(granting) >= 1", "govgateway.authz.granted", "changed"),
        ("granted if", "other if true\n\ngranted if", "govgateway.authz.other", "added"),
        ('"default_deny"', '"model_not_granted"', "govgateway.authz.decision", "changed"),
    ],
)
def test_a_rule_that_says_something_else_is_named(before: str, after: str, rule: str, change: str) -> None:
    text = REGO.replace(before, after, 1)
    (found,) = differences(BASE, revision(rego=text)).rules
    line = next(
        number
        for number, (one, other) in enumerate(zip(text.splitlines(), REGO.splitlines(), strict=False), 1)
        if one != other
    )
    assert (found.file, found.rule, found.change) == (DECISION, rule, change)
    assert found.line <= line


def test_a_removed_rule_is_named_where_it_was() -> None:
    more = revision(rego=REGO + "\nspare if true\n")
    assert differences(more, BASE).rules == (
        RuleChange(DECISION, "govgateway.authz.spare", "removed", REGO.count("\n") + 2),
    )


def test_the_document_has_a_name_and_nothing_but_json() -> None:
    found = differences(BASE, changed(bindings={"team:sales": ["reader"]}))
    document = orjson.loads(orjson.dumps(differences_document(found)))
    assert document["schema"] == "govgateway.policy-differences/1"
    assert document["base"]["data_digest"] == BASE.policies.data_digest
    assert document["subjects"][0]["access_gained"] == [{"action": "model.infer", "resource": "small-*"}]
    assert document["new_access"] == [
        {"subject": "team:sales", "role": "reader", "action": "model.infer", "resource": "small-*"}
    ]
