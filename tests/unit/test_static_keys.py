"""The report of a migration away from static keys: each finding, its bounds, and what it never says."""

import pytest

from gateway.config import GatewayConfig
from gateway.static_keys import static_keys
from identity.entries import Entry
from identity.registry import Agent

TD = "gateway.test"
READER, ADA = f"spiffe://{TD}/agent/reader", f"spiffe://{TD}/operator/ada"
CERTIFICATE, TOKEN = "a" * 39, "b" * 32
PLAIN = {"name": "plain", "url": "http://127.0.0.1:9/v1"}


def config(*backends, **identity):
    return GatewayConfig.model_validate(
        {
            "trust_domain": TD,
            "backends": [PLAIN, *backends],
            "models": [{"name": "m", "backends": ["plain"]}],
            "identity": identity,
        }
    )


def agent(spiffe_id=READER, kind="agent"):
    return Agent(spiffe_id, kind, "research", "ada@gateway.test", "active", "limited")


def svid(life=3600, entry_id="e-1", spiffe_id=READER, serial=CERTIFICATE):
    return {"id": spiffe_id, "serial": serial, "issued_at": 1000, "not_after": 1000 + life, "entry_id": entry_id}


def entry():
    return Entry("e-1", READER, f"spiffe://{TD}/gateway", frozenset({"unix:uid:1"}))


def found(*arguments, **named):
    return [(each.finding, each.subject) for each in static_keys(*arguments, **named)]


def test_a_gateway_whose_members_fetch_what_they_need_has_nothing_to_report():
    held = [svid(), svid(300, serial=TOKEN)]
    assert static_keys(config(), [agent()], held, [entry()]) == []


@pytest.mark.parametrize("reference", ["file:key.txt", "env:API_KEY"])
def test_a_backend_with_a_credential_is_reported_by_its_reference(reference):
    (only,) = static_keys(config({**PLAIN, "name": "hosted", "credential": reference}), [], [])
    assert (only.finding, only.subject) == ("backend-credential", "hosted")
    assert reference in only.detail
    assert "client certificate" in only.remedy


def test_a_backend_that_knows_the_gateways_certificate_already_needs_its_credential_taken_out():
    mutual = {"client_cert_file": "c.pem", "client_key_file": "k.pem", "credential": "env:K"}
    (only,) = static_keys(config({**PLAIN, "name": "hosted", **mutual}), [], [])
    assert "take the credential out" in only.remedy
    assert "give the backend" not in only.remedy


@pytest.mark.parametrize("once", [False, True])
def test_each_route_that_accepts_tokens_is_reported(once):
    bearer = {"routes": ["/v1/models", "/v1/chat/completions"], "once": once}
    report = static_keys(config(jwt_bearer=bearer), [], [])
    assert [each.subject for each in report] == ["/v1/chat/completions", "/v1/models"]
    assert all(("jwt_bearer.once" in each.remedy) is not once for each in report)


def test_what_was_issued_by_hand_is_reported_once_an_identity_with_the_way_out():
    by_hand = [svid(entry_id=""), svid(300, entry_id="", serial=TOKEN)]
    (without,) = static_keys(config(), [agent()], by_hand)
    assert (without.finding, without.subject) == ("issued-by-hand", READER)
    assert without.detail.startswith("2 in date")
    assert "govctl entry create" in without.remedy
    (with_entry,) = static_keys(config(), [agent()], by_hand, [entry()])
    assert "govctl entry create" not in with_entry.remedy
    (person,) = static_keys(config(), [agent(ADA, "human")], [svid(entry_id="", spiffe_id=ADA)])
    assert "working day" in person.remedy
    assert found(config(), [], [svid(entry_id="")]) == [("issued-by-hand", READER)], "also if it is not registered"


def test_a_life_above_the_default_is_reported_and_one_at_the_default_is_not():
    assert found(config(), [agent()], [svid(3661)]) == [("long-lived", READER)]
    assert found(config(), [agent()], [svid(3660)]) == []
    assert found(config(svid_ttl_seconds=7200), [agent()], [svid(3661)]) == []
    assert found(config(), [agent()], [svid(900, serial=TOKEN)]) == [("long-lived", READER)]
    (longest,) = static_keys(config(), [agent()], [svid(4000), svid(9000, serial="c" * 40)])
    assert "9000 seconds; the default is 3600" in longest.detail
    assert "govctl entry update e-1" in longest.remedy


def test_findings_come_by_kind_and_then_by_subject():
    report = found(
        config({**PLAIN, "name": "z", "credential": "env:A"}, {**PLAIN, "name": "b", "credential": "env:B"}),
        [agent(), agent(ADA, "human")],
        [svid(9000, entry_id="", spiffe_id=ADA), svid(9000, entry_id="")],
    )
    assert report == [
        ("backend-credential", "b"),
        ("backend-credential", "z"),
        ("issued-by-hand", READER),
        ("issued-by-hand", ADA),
        ("long-lived", READER),
        ("long-lived", ADA),
    ]
