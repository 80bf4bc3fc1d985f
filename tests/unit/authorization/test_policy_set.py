"""What a policy directory must be to be loaded, and what a person reads when it is not."""

import re
from pathlib import Path

import pytest

from gateway.authorization.policy_set import load_policy_set
from gateway.errors import ConfigError
from tests.unit.authorization.conftest import STARTER, WritePolicies

DENY = """package govgateway.authz
decision := {"allow": false, "reasons": ["default_deny"], "obligations": [], "cache_seconds": 0}
"""
AUTHZ = "govgateway/authz/a.rego"


def refused(directory: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_policy_set(directory)
    return str(caught.value)


def edit(directory: Path, name: str, old: str, new: str) -> Path:
    path = directory / name
    text = path.read_text()
    assert old in text
    before, _, after = text.rpartition(old)
    path.write_text(before + new + after)
    return path


def test_roles_are_the_sorted_union_of_id_team_and_kind(starter_copy: Path) -> None:
    path = starter_copy / "govgateway/bindings/data.yaml"
    path.write_text(
        "spiffe://example.org/a: [platform-viewer, chat-user]\n"
        "team:research: [chat-user]\n"
        "kind:pipeline: [embedding-user]\n"
    )
    policies = load_policy_set(starter_copy)
    assert policies.roles_of("spiffe://example.org/a", "research", "pipeline", now=0) == (
        "chat-user",
        "embedding-user",
        "platform-viewer",
    )
    assert policies.roles_of("spiffe://example.org/b", "research", "agent", now=0) == ("chat-user",)
    assert policies.roles_of("spiffe://example.org/c", "other", "agent", now=0) == ()


def test_name_of_one_sort_of_subject_cannot_pose_as_another(starter_copy: Path) -> None:
    policies = load_policy_set(starter_copy)
    assert policies.roles_of("team:research", "", "", now=0) == ()
    assert policies.roles_of("", "", "research", now=0) == ()


def test_revision_is_the_manifests_else_the_digest_of_rules_and_data(starter_copy: Path) -> None:
    first = load_policy_set(starter_copy)
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", first.revision)
    edit(starter_copy, "govgateway/authz/agent.rego", "objections", "# a comment\nobjections")
    second = load_policy_set(starter_copy)
    assert second.revision != first.revision
    assert second.data_digest == first.data_digest
    (starter_copy / ".manifest").write_text('{"revision": "r7", "roots": ["govgateway"]}')
    assert load_policy_set(starter_copy).revision == "r7"


def test_data_digest_follows_the_data_not_their_layout(starter_copy: Path) -> None:
    first = load_policy_set(starter_copy)
    path = starter_copy / "govgateway/bindings/data.yaml"
    path.write_text("# Nothing but a comment is new.\n" + path.read_text())
    assert load_policy_set(starter_copy).data_digest == first.data_digest
    path.write_text(path.read_text() + "team:new: [chat-user]\n")
    changed = load_policy_set(starter_copy)
    assert changed.data_digest != first.data_digest
    assert changed.revision != first.revision


def test_set_is_immutable(starter_copy: Path) -> None:
    with pytest.raises(AttributeError):
        load_policy_set(starter_copy).revision = "other"  # type: ignore[misc]


def test_system_carries_risk_classes_and_attributes(starter_copy: Path) -> None:
    policies = load_policy_set(starter_copy)
    system = policies.system("hiring")
    assert system is not None
    assert (system.id, system.risk, system.data_classes) == ("hiring", "high", ("personal",))
    assert system.attributes["oversight"] == {"overseers": []}
    assert policies.system("nothing") is None


def test_reason_explains_itself_known_or_not(starter_copy: Path) -> None:
    policies = load_policy_set(starter_copy)
    assert policies.reason("system_prohibited").message.startswith("The AI system is a prohibited practice")
    assert policies.reason("my_rule").message == "The policy refused the call: my rule."


def test_missing_directory_is_named(tmp_path: Path) -> None:
    assert "is not a directory" in refused(tmp_path / "none")


def test_directory_without_rego_is_refused(policy_directory: WritePolicies) -> None:
    assert "no Rego file" in refused(policy_directory(**{"govgateway/roles/data.yaml": "{}"}))


def test_syntax_error_names_file_line_and_cause(starter_copy: Path) -> None:
    edit(starter_copy, "govgateway/authz/agent.rego", "if not input", "if { not input")
    message = refused(starter_copy)
    assert re.match(rf"{re.escape(str(starter_copy))}/govgateway/authz/agent.rego:\d+:\d+: ", message)
    assert "Stack backtrace" not in message
    assert "\n" not in message


def test_unsafe_variable_is_found_at_load(starter_copy: Path) -> None:
    edit(starter_copy, "govgateway/authz/agent.rego", "if not input", "if nobody.knows == input")
    assert "agent.rego:" in refused(starter_copy)
    assert "unsafe" in refused(starter_copy)


def test_undefined_entry_point_is_refused(policy_directory: WritePolicies) -> None:
    message = refused(policy_directory(**{AUTHZ: "package govgateway.authz\nallow := false\n"}))
    assert "data.govgateway.authz.decision is undefined" in message


def test_entry_point_without_a_default_is_refused(policy_directory: WritePolicies) -> None:
    rego = DENY.replace("0}", '0} if input.action == "model.infer"')
    assert "is undefined for the input {}" in refused(policy_directory(**{AUTHZ: rego}))


def test_policies_that_allow_by_default_are_refused(policy_directory: WritePolicies) -> None:
    message = refused(policy_directory(**{AUTHZ: DENY.replace("false", "true")}))
    assert "allows a caller without any role" in message


def test_probe_of_an_allowed_call_finds_a_malformed_answer(starter_copy: Path) -> None:
    edit(starter_copy, "govgateway/authz/decision.rego", '"cache_seconds": 300', '"cache_seconds": "long"')
    message = refused(starter_copy)
    assert "cache_seconds is 'long'" in message
    assert '"roles":["chat-user"]' in message


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        (
            "bindings",
            "[chat-user]",
            "[chat-usr]",
            r"bindings/data.yaml: team:research: there is no role 'chat-usr'; did you mean 'chat-user'",
        ),
        ("bindings", "team:research", "research", r"bindings/data.yaml: research: a subject is a SPIFFE ID"),
        ("bindings", "team:research", "kind:robot", r"'robot' is not a kind; kinds are agent"),
        ("bindings", "team:research", "spiffe://example.org/a/", r"bindings/data.yaml: spiffe://example.org/a/: .*"),
        (
            "bindings",
            "team:platform",
            "team:research",
            r"bindings/data.yaml:\d+:\d+: the key 'team:research' is given twice",
        ),
        (
            "roles",
            "model.infer,",
            "model.inferr,",
            r"roles/data.yaml: chat-user.permissions.0.actions.0: .*did you mean 'model.infer'",
        ),
        ("roles", "[tiny,", "['ti[n]y',", r"roles/data.yaml: chat-user.permissions.0.resources.0: .*is not a resource"),
        (
            "roles",
            "max_output_tokens: 2048",
            "max_output_tokens: 0",
            r"chat-user.max_output_tokens: .*greater than or equal to 1",
        ),
        ("roles", "max_output_tokens", "max_tokens", r"roles/data.yaml: chat-user.max_tokens: unknown key"),
        ("systems", "risk: high", "risk: highest", r"systems/data.yaml: hiring.risk: "),
        (
            "systems",
            "[internal]",
            "[secret]",
            r"systems/data.yaml: assistant: data_classes: 'secret' is not in the table of regions",
        ),
        ("systems", "risk: limited", "risk: &r limited\n  again: *r", r"systems/data.yaml:\d+:\d+: aliases"),
        ("systems", "owner: platform", "since: 2026-01-02", r"assistant.since is a date; .* quote it"),
        ("systems", "owner: platform", "share: 0.5", r"assistant.share is a fraction"),
        ("systems", "owner: platform", "size: 9007199254740992", r"larger than 2\^53 - 1"),
        ("reasons", "message: None of", "massage: None of", r"reasons/data.yaml: action_not_granted"),
        ("limits", "scope: agent", "scope: agents", r"limits/data.yaml: quota.0.scope: "),
        ("limits", "name: team-default", "name: agent-default", r"limits/data.yaml: .*agent-default is given twice"),
        (
            "limits",
            "requests_per_minute: 600",
            "requests_per_minute: true",
            r"limits/data.yaml: quota.0.requests_per_minute: ",
        ),
    ],
)
def test_data_that_cannot_be_used_name_file_and_key(
    starter_copy: Path, name: str, old: str, new: str, expected: str
) -> None:
    edit(starter_copy, f"govgateway/{name}/data.yaml", old, new)
    assert re.search(expected, refused(starter_copy))


def test_limit_that_bounds_nothing_is_refused(starter_copy: Path) -> None:
    (starter_copy / "govgateway/limits/data.yaml").write_text("quota: [{name: idle, scope: agent}]\n")
    assert "the limit idle bounds nothing" in refused(starter_copy)


def test_every_wrong_entry_is_reported_at_once(starter_copy: Path) -> None:
    (starter_copy / "govgateway/bindings/data.yaml").write_text("a: [none]\nteam:b: [none]\n")
    assert len(refused(starter_copy).splitlines()) == 3


def test_file_that_only_opa_would_read_is_refused(starter_copy: Path) -> None:
    (starter_copy / "govgateway/extra.json").write_text("{}")
    assert "files named data.yaml or data.json only" in refused(starter_copy)


def test_data_may_not_stand_in_for_rules(starter_copy: Path) -> None:
    path = starter_copy / "govgateway/authz/data.yaml"
    path.write_text("decision: {allow: true, reasons: [], obligations: [], cache_seconds: 1}\n")
    assert "data may not stand in for rules" in refused(starter_copy)


def test_same_data_given_twice_are_refused(starter_copy: Path) -> None:
    (starter_copy / "govgateway/data.yaml").write_text("roles: {chat-user: {permissions: []}}\n")
    assert "roles.chat-user is given by another" in refused(starter_copy)


def test_link_to_a_directory_is_refused_not_skipped(starter_copy: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (starter_copy / "linked").symlink_to(tmp_path / "elsewhere")
    assert "is a link to a directory" in refused(starter_copy)


def test_hidden_directories_are_skipped(starter_copy: Path) -> None:
    (starter_copy / ".git").mkdir()
    (starter_copy / ".git/a.rego").write_text("not rego")
    load_policy_set(starter_copy)


def test_rego_that_is_not_utf8_is_refused(starter_copy: Path) -> None:
    (starter_copy / "govgateway/authz/x.rego").write_bytes(b"package govgateway.authz\n# \xff\n")
    assert "x.rego is not UTF-8" in refused(starter_copy)


def test_rego_nested_beyond_the_parsers_stack_is_refused(starter_copy: Path) -> None:
    deep = "[" * 50_000 + "]" * 50_000
    (starter_copy / "govgateway/authz/x.rego").write_text(f"package govgateway.authz\nx := {deep}\n")
    assert "nests brackets 50000 deep" in refused(starter_copy)


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        ("{", "is not a bundle manifest"),
        ("[]", "a bundle manifest is an object"),
        ('{"revision": 7}', "a bundle manifest is an object"),
        ('{"rego_version": 0}', "policies here are Rego v1"),
        ('{"roots": ["other"]}', "is outside the manifest's roots"),
    ],
)
def test_bad_manifest_is_refused(starter_copy: Path, manifest: str, expected: str) -> None:
    (starter_copy / ".manifest").write_text(manifest)
    assert expected in refused(starter_copy)


def test_test_file_may_not_add_to_a_package_that_decides(starter_copy: Path) -> None:
    (starter_copy / "govgateway/authz/x_test.rego").write_text("package govgateway.authz\ngrantable := true\n")
    assert "the package of a test ends in _test" in refused(starter_copy)


def test_starter_policies_load_from_the_source_tree() -> None:
    assert load_policy_set(STARTER).system("assistant") is not None
