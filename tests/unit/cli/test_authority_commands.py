"""govctl authority: what it shows, changes, refuses and records."""

import pytest

from identity.bundle import load_bundle

REASON = ("--reason", "a test")
AUTHORITY_ACTIONS = ("prepared", "activated", "tainted", "revoked")


def shown(govctl, kind):
    return govctl("authority", kind, "show", "--json").json


def ids(govctl, kind):
    return {each["state"]: each["id"] for each in shown(govctl, kind)["authorities"]}


@pytest.mark.parametrize("kind", ["x509", "jwt"])
def test_an_authority_is_prepared_activated_tainted_and_revoked_and_each_step_is_recorded(govctl, kind):
    first = ids(govctl, kind)["active"]
    govctl("authority", kind, "prepare", *REASON)
    prepared = ids(govctl, kind)["prepared"]
    govctl("authority", kind, "activate", prepared, *REASON)
    assert ids(govctl, kind) == {"active": prepared, "old": first}
    govctl("authority", kind, "taint", first, *REASON)
    assert [each["id"] for each in shown(govctl, kind)["authorities"] if each["tainted"]] == [first]
    govctl("authority", kind, "revoke", first, *REASON, user="sam")
    assert ids(govctl, kind) == {"active": prepared}
    assert shown(govctl, kind)["revoked"] == [first]
    records = {action: govctl.records(f"authority.{action}") for action in AUTHORITY_ACTIONS}
    assert {action: [(r["kind"], r["authority"], r["cause"]) for r in found] for action, found in records.items()} == {
        "prepared": [(kind, prepared, "a test")],
        "activated": [(kind, prepared, "a test")],
        "tainted": [(kind, first, "a test")],
        "revoked": [(kind, first, "a test")],
    }
    assert records["revoked"][0]["principal"] == "operator:sam"


def test_a_table_is_for_people_and_names_each_authority_with_its_state(govctl):
    active = ids(govctl, "x509")["active"]
    table = govctl("authority", "x509", "show").out
    assert active in table
    assert "active" in table
    assert "UTC" in table


def test_another_root_is_in_the_bundle_as_soon_as_it_is_prepared(govctl):
    bundle = govctl.directory / "state" / "authority" / "bundle.jwks"
    before = load_bundle("gateway.test", bundle)
    govctl("authority", "x509", "prepare", "--new-root", *REASON)
    after = load_bundle("gateway.test", bundle)
    assert set(after.authorities) > set(before.authorities)
    assert shown(govctl, "x509")["bundle_sequence"] == after.sequence == before.sequence + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x509", "activate"), "prepare one first"),
        (("jwt", "activate"), "prepare one first"),
        (("jwt", "taint", "00"), "there is no authority 00"),
        (("x509", "revoke", "00"), "there is no authority 00"),
    ],
)
def test_a_step_out_of_turn_is_refused_with_the_remedy_and_not_recorded(govctl, arguments, message):
    assert message in govctl("authority", *arguments, *REASON, code=1).err
    assert not any(govctl.records(f"authority.{action}") for action in AUTHORITY_ACTIONS)


def test_the_active_authority_is_not_tainted_before_it_has_a_successor(govctl):
    active = ids(govctl, "jwt")["active"]
    assert "activate another one first" in govctl("authority", "jwt", "taint", active, *REASON, code=1).err


def test_without_the_roots_key_the_message_names_the_file(govctl):
    (govctl.directory / "state" / "authority" / "root.key.sealed").unlink()
    assert "root.key.sealed" in govctl("authority", "x509", "prepare", *REASON, code=1).err


@pytest.mark.parametrize("step", ["prepare", "activate", "taint", "revoke"])
def test_a_change_has_a_reason_or_does_not_happen(govctl, step):
    govctl("authority", "jwt", step, *(["00"] if step in {"taint", "revoke"} else []), code=2)


def test_jwt_keys_are_offered_no_root(govctl):
    assert "--new-root" in govctl("authority", "x509", "prepare", "--help").out
    assert "--new-root" not in govctl("authority", "jwt", "prepare", "--help").out
