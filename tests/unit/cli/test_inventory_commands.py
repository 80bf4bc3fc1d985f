"""govctl agent, entry, identity, token and review: what they change, record and refuse."""

import csv
import io
import sqlite3
import time
from hashlib import sha256

import pytest
import yaml

from identity.registry import Registry, Usage

TD = "gateway.test"
AGENT = f"spiffe://{TD}/agent/reader"
OTHER = f"spiffe://{TD}/agent/writer"
NODE = f"spiffe://{TD}/node/one"
GATEWAY = f"spiffe://{TD}/gateway"
REASON = ("--reason", "a test")


def register(govctl, spiffe_id=AGENT, *options, **how):
    return govctl(
        "agent", "register", spiffe_id, "--team", "research", "--owner", "ada@gateway.test", "--purpose", "a test",
        *options, **how,
    )  # fmt: skip


def registry(govctl):
    return Registry(govctl.directory / "state" / "registry.sqlite", time.time_ns)


def test_registering_says_where_it_runs_when_it_is_reviewed_and_when_it_ends(govctl):
    register(govctl, AGENT, "--environment", "production", "--review", "90d", "--expires", "2100-01-31")
    shown = govctl("agent", "show", AGENT, "--json").json
    assert (shown["environment"], shown["created_by"]) == ("production", "operator:alex")
    assert shown["expires_at"] == 4_105_036_800
    assert abs(shown["review_due"] - time.time() - 90 * 86_400) < 60
    assert [(each["before"], each["after"], each["by"]) for each in shown["history"]] == [
        ("", "active", "operator:alex")
    ]
    assert (shown["usage"], shown["svids"], shown["attributes"]) == ([], [], {})
    for words in (("agent", "show", AGENT), ("agent", "list")):
        told = govctl(*words).out
        assert "production" in told
    assert "2100-01-31" in govctl("agent", "show", AGENT).out


def test_what_is_known_of_an_identity_is_changed_and_recorded(govctl):
    register(govctl, AGENT, "--expires", "1d")
    changed = govctl("agent", "update", AGENT, "--owner", "bo@gateway.test", "--expires", "", "--json").json
    assert (changed["owner"], changed["expires_at"], changed["team"]) == ("bo@gateway.test", 0, "research")
    (recorded,) = govctl.records("agent.updated")
    assert recorded["changes"] == {"owner": "bo@gateway.test", "expires_at": 0}
    assert "nothing to change" in govctl("agent", "update", AGENT, code=1).err
    assert "other than its owner" in govctl("agent", "update", AGENT, "--risk-tier", "high", user="bo", code=1).err


def test_a_time_that_is_none_is_refused(govctl):
    assert "write 2030-01-31" in register(govctl, AGENT, "--review", "soon", code=1).err


def test_an_owner_does_not_activate_its_own_high_risk_identity(govctl):
    assert "pending" in register(govctl, AGENT, "--risk-tier", "high", user="ada", code=1).err
    assert "activate" in register(govctl, AGENT, "--risk-tier", "high", "--pending", user="ada").out
    assert "other than its owner" in govctl("agent", "activate", AGENT, *REASON, user="ada", code=1).err
    govctl("agent", "activate", AGENT, *REASON, user="bo")
    assert govctl.records("agent.status_changed")[-1]["principal"] == "operator:bo"


@pytest.mark.parametrize(
    ("option", "subject", "kept"),
    [
        ("--id", AGENT, AGENT),
        ("--serial", "0xAB:12", "ab12"),
        ("--serial", "00AB12", "ab12"),
        ("--authority", "AB:12", "ab12"),
        ("--node", NODE, NODE),
    ],
)
def test_each_kind_of_revocation_is_kept_and_recorded(govctl, option, subject, kept):
    told = govctl("agent", "revoke", option, subject, *REASON)
    assert f"{kept} is revoked" in told.out
    (made,) = govctl("agent", "revocations", "--json").json
    assert (made["kind"], made["subject"], made["reason"], made["by"]) == (option[2:], kept, "a test", "operator:alex")
    (recorded,) = govctl.records("identity.revoked")
    assert (recorded["kind"], recorded["subject"]) == (option[2:], kept)
    assert (recorded["cause"], recorded["principal"]) == ("a test", "operator:alex")


def test_an_entry_is_revoked_and_lifted(govctl):
    made = govctl("entry", "create", "--spiffe-id", AGENT, "--selector", "unix:uid:1000", "--json").json
    govctl("agent", "revoke", "--entry", made["entry_id"], *REASON)
    govctl("agent", "lift", "--entry", made["entry_id"], "--reason", "found again")
    assert govctl("agent", "revocations", "--json").json == []
    assert govctl.records("identity.revocation_lifted")[0]["cause"] == "found again"
    assert "is not revoked" in govctl("agent", "lift", "--entry", made["entry_id"], *REASON, code=1).err


def test_a_serial_is_still_revoked_as_an_argument_and_only_one_thing_at_a_time(govctl):
    assert "ab12 is revoked" in govctl("agent", "revoke", "AB12", *REASON).out
    for words in (("AB12", "--serial", "AB12"), ("AB12", "--id", AGENT), ()):
        assert "Error: " in govctl("agent", "revoke", *words, *REASON, code=1).err
    assert len(govctl("agent", "revocations", "--json").json) == 1


def test_an_entry_is_created_listed_shown_changed_and_deleted(govctl):
    made = govctl(
        "entry", "create", "--spiffe-id", AGENT, "--selector", "unix:uid:1000", "--selector", "unix:gid:7",
        "--x509-ttl", "120", "--dns-name", "a.example", "--federates-with", "away.test", "--admin", "--expires", "30d",
        "--json",
    ).json  # fmt: skip
    assert (made["parent_id"], made["selectors"]) == (GATEWAY, ["unix:gid:7", "unix:uid:1000"])
    assert (made["x509_ttl_seconds"], made["admin"], made["downstream"]) == (120, True, False)
    assert govctl("entry", "list", "--spiffe-id", AGENT, "--json").json == [made]
    assert govctl("entry", "list", "--parent", NODE, "--json").json == []
    assert govctl("entry", "show", made["entry_id"], "--json").json == made
    changed = govctl("entry", "update", made["entry_id"], "--no-admin", "--hint", "x", "--expires", "", "--json").json
    assert changed == made | {"admin": False, "hint": "x", "expires_at": 0, "revision": 1}
    assert made["entry_id"] in govctl("entry", "list").out
    assert "unix:gid:7" in govctl("entry", "show", made["entry_id"]).out
    govctl("entry", "delete", made["entry_id"])
    assert govctl("entry", "list", "--json").json == []
    for record_type in ("entry.created", "entry.updated", "entry.deleted"):
        assert [each["entry_id"] for each in govctl.records(record_type)] == [made["entry_id"]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("create", "--spiffe-id", AGENT), "every workload"),
        (("create", "--spiffe-id", "spiffe://other.test/a", "--selector", "unix:uid:1"), "own one, gateway.test"),
        (("create", "--spiffe-id", AGENT, "--selector", "unix:uyd:1"), "did you mean 'uid'"),
        (("show", "nonsense"), "govctl entry list"),
        (("update", "00000000-0000-0000-0000-000000000000", "--hint", "x"), "govctl entry list"),
        (("update", "00000000-0000-0000-0000-000000000000"), "nothing to change"),
        (("delete", "00000000-0000-0000-0000-000000000000"), "govctl entry list"),
    ],
)
def test_what_is_wrong_with_an_entry_is_said_and_nothing_recorded(govctl, words, said):
    assert said in govctl("entry", *words, code=1).err
    assert govctl.records("entry.created") == []


def test_a_join_token_is_shown_once_and_only_its_hash_is_kept_and_recorded(govctl):
    made = govctl("token", "create", "--node", NODE, "--ttl", "60", "--json").json
    assert abs(made["expires_at"] - time.time() - 60) < 30
    with sqlite3.connect(govctl.directory / "state" / "registry.sqlite") as connection:
        kept = connection.execute("SELECT digest, node_id FROM join_tokens").fetchall()
    connection.close()
    assert kept == [(sha256(made["token"].encode()).hexdigest(), NODE)]
    (recorded,) = govctl.records("join_token.created")
    assert recorded["node"] == NODE
    assert made["token"] not in str(recorded)
    opened = registry(govctl)
    assert opened.join_tokens.use(made["token"]) == NODE
    opened.close()
    assert len(govctl("token", "create", "--node", NODE).out.splitlines()[0]) == 43
    for words in (("--node", "spiffe://other.test/n"), ("--node", NODE, "--ttl", "0"), ("--node", NODE, "--ttl", "8d")):
        govctl("token", "create", *words, code=1)


FILE = {
    "agents": [{"id": AGENT, "team": "research", "owner": "ada@gateway.test", "purpose": "reads"}],
    "entries": [{"spiffe_id": AGENT, "parent_id": GATEWAY, "selectors": ["unix:uid:1000"]}],
}


def write(govctl, document):
    (govctl.directory / "identities.yaml").write_text(yaml.safe_dump(document))
    return ("-f", "identities.yaml")


def test_a_file_is_planned_then_asked_about_then_applied_and_exported_again(govctl, monkeypatch):
    file = write(govctl, FILE)
    told = govctl("identity", "plan", *file, code=2).out
    assert f"+ create agent {AGENT}" in told
    assert "2 to create, 0 to update, 0 to delete; 0 unchanged." in told
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert "nothing was changed" in govctl("identity", "apply", *file, code=1).err
    assert govctl("agent", "list", "--json").json == []
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert "Applied" in govctl("identity", "apply", *file).out
    assert govctl("identity", "plan", *file).out == "0 to create, 0 to update, 0 to delete; 2 unchanged.\n"
    (recorded,) = govctl.records("identity.applied")
    assert (recorded["create"], recorded["changes_left_out"]) == (2, 0)
    assert recorded["file_sha256"] == sha256((govctl.directory / "identities.yaml").read_bytes()).hexdigest()
    exported = write(govctl, yaml.safe_load(govctl("identity", "export").out))
    assert govctl("identity", "plan", *exported, "--prune").code == 0
    assert govctl("identity", "export", "--json").json["agents"][0]["id"] == AGENT


def test_a_change_is_shown_field_by_field_and_pruning_is_asked_for(govctl):
    govctl("identity", "apply", *write(govctl, FILE), "--yes")
    changed = {"agents": [FILE["agents"][0] | {"owner": "bo", "review_due": "2100-01-31"}], "entries": []}
    told = govctl("identity", "apply", *write(govctl, changed), "--yes").out
    assert "owner: 'ada@gateway.test' -> 'bo'" in told
    assert "review_due: never -> 2100-01-31 00:00:00 UTC" in told
    assert "2100-01-31T00:00:00Z" in govctl("identity", "export").out
    assert f"left alone: {AGENT} (unix:uid:1000)" in told
    assert "- delete entry" in govctl("identity", "plan", *write(govctl, changed), "--prune", code=2).out
    assert "- retire agent" in govctl("identity", "plan", *write(govctl, {}), "--prune", code=2).out
    shown = govctl("identity", "apply", *write(govctl, {}), "--prune", "--yes", "--json").json
    assert [(each["action"], each["kind"]) for each in shown["changes"]] == [("delete", "entry"), ("delete", "agent")]
    assert govctl("agent", "show", AGENT, "--json").json["status"] == "retired"


def test_a_file_that_is_wrong_says_every_place_and_changes_nothing(govctl):
    wrong = {"agents": [{"id": AGENT, "ownr": "x"}], "entries": [{"selectors": 7}]}
    told = govctl("identity", "apply", *write(govctl, wrong), "--yes", code=1).err
    assert "identities.yaml has" in told
    assert "did you mean 'owner'" in told
    assert "entries[0].selectors: write a list" in told
    assert "add --yes" in govctl("identity", "apply", *write(govctl, FILE), "--json", code=1).err
    assert "does not exist" in govctl("identity", "plan", "-f", "missing.yaml", code=1).err
    assert govctl("agent", "list", "--json").json == []


def test_findings_name_the_orphan_the_unknown_caller_and_what_is_never_used(govctl):
    register(govctl)
    register(govctl, OTHER, "--expires", "1d")
    opened = registry(govctl)
    now = int(time.time())
    opened.usage.record([Usage(AGENT, "example-chat", "model.infer", 3, now), Usage(NODE, "m", "a", 1, now)])
    opened.close()
    (govctl.directory / "owners.txt").write_text("# people\nbo@gateway.test\n")
    found = govctl("agent", "findings", "--owners", "owners.txt", "--observation", "1s", "--json").json
    told = {(each["finding"], each["id"]) for each in found}
    expected = {("unknown-caller", NODE), ("orphaned", AGENT), ("orphaned", OTHER), ("expiring", OTHER)}
    assert told - {("over-privileged", AGENT)} == expected
    time.sleep(1.1)
    (finding,) = govctl("agent", "findings", "--only", "over-privileged", "--observation", "1s", "--json").json
    assert "model.embed example-*" in finding["unused"]
    (role,) = finding["proposal"]["roles"].values()
    assert role["permissions"] == [
        {"actions": ["identity.renew"], "resources": ["/v1/svid"]},
        {"actions": ["model.infer"], "resources": ["example-chat"]},
    ]
    assert "orphaned" not in govctl("agent", "findings").out  # nobody keeps a list of owners
    assert "there is no finding" in govctl("agent", "findings", "--only", "odd", code=1).err


def test_a_review_is_started_decided_closed_and_exported(govctl):
    register(govctl)
    register(govctl, OTHER)
    started = govctl("agent", "review", "start", "q1", "--deadline", "14d", "--team", "research", "--json").json
    assert [each["id"] for each in started["items"]] == [AGENT, OTHER]
    govctl("agent", "review", "decide", "q1", AGENT, "--decision", "suspend", "--reason", "=who()")
    assert govctl("agent", "show", AGENT, "--json").json["status"] == "suspended"
    (moved,) = govctl.records("agent.status_changed")
    assert (moved["agent"], moved["status"], moved["cause"]) == (AGENT, "suspended", "review q1: =who()")
    (shown,) = govctl("agent", "review", "list", "--json").json
    assert (shown["state"], [each["decision"] for each in shown["items"]]) == ("open", ["suspend", ""])
    assert "q1" in govctl("agent", "review", "list").out
    assert f"undecided: {OTHER}" in govctl("agent", "review", "close", "q1").out
    rows = list(csv.DictReader(io.StringIO(govctl("agent", "review", "export", "q1").out)))
    assert [(row["id"], row["decision"], row["reason"]) for row in rows] == [
        (AGENT, "suspend", "'=who()"),
        (OTHER, "undecided at the deadline", ""),
    ]
    assert govctl("agent", "review", "export", "q1", "--json").json["state"] == "closed"
    assert [len(govctl.records(f"review.{each}")) for each in ("started", "decided", "closed")] == [1, 1, 1]
    assert "closed" in govctl("agent", "review", "decide", "q1", OTHER, "--decision", "keep", *REASON, code=1).err
    assert "no identity" in govctl("agent", "review", "start", "q2", "--deadline", "1d", "--team", "x", code=1).err
