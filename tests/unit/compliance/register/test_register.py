"""The register is read strictly, what it lacks is named with the article that asks for it, and changes are shown."""

from datetime import date
from typing import Any

import pytest
import yaml

from compliance.errors import ComplianceError
from compliance.register import Register, differences, load_register, remarks
from gateway.starter import starter_policies
from tests.support.planted_log import SYSTEM

TODAY = date(2027, 3, 1)


def register(**changed: Any) -> Register:
    return load_register({"systems": {"hiring": {**SYSTEM, **changed}}})


def found(**changed: Any) -> dict[str, str]:
    return {each.key: each.says for each in remarks(register(**changed), TODAY)}


def test_the_register_that_a_new_gateway_starts_with_is_read():
    written = yaml.safe_load((starter_policies() / "govgateway/systems/data.yaml").read_bytes())
    assert set(load_register({"systems": written}).systems) == {"assistant", "hiring", "scoring"}


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"risk": "highest"}, "hiring.risk"),
        ({"models": {"m": {"version": "1", "provider": "p", "digest": "md5:1"}}}, "hiring.models.m.digest"),
        ({"screening": {"date": "1 March", "by": "ada"}}, "hiring.screening.date: '1 March' is not a day"),
        ({"recipients": [{"name": "x", "country": "Germany"}]}, "hiring.recipients.0.country"),
        ({"data_sets": [{"name": "x"}]}, "hiring.data_sets.0.use"),
    ],
    ids=["risk", "digest", "day", "country", "data set"],
)
def test_a_fault_is_named_with_its_key(changed, fault):
    with pytest.raises(ComplianceError) as refused:
        register(**changed)
    assert fault in str(refused.value)


def test_an_unknown_system_is_named_with_those_that_are_there():
    with pytest.raises(ComplianceError, match="no AI system 'x'; it has: hiring"):
        register().get("x")


def test_what_a_high_risk_system_lacks_is_named():
    lacking = found(roles=["provider", "deployer"], deployer="public")
    assert {"risk_file", "data_sets", "monitoring_plan", "fria", "affected_groups", "screening"} <= set(lacking)
    assert "models" not in lacking


def test_an_overseer_whose_training_ran_out_is_named():
    assert "oversight.training" not in found()
    trained = {"person": "ada", "reference": "T", "date": "2025-01-01", "valid_until": "2027-02-28"}
    assert (
        "no training on record" in found(oversight={"overseers": ["ada"], "training": [trained]})["oversight.training"]
    )


def test_a_recipient_outside_the_eea_needs_a_basis():
    abroad = {"name": "Example Inc.", "country": "US"}
    assert "outside the EEA" in found(personal_data=True, recipients=[abroad])["recipients"]
    assert "recipients" not in found(personal_data=True, recipients=[{**abroad, "transfer_basis": "SCC"}])


def test_a_misspelt_key_is_asked_about_and_an_attribute_of_ones_own_is_not():
    assert "did you mean intended_purpose?" in found(intended_porpose="x")["intended_porpose"]
    assert "cost_centre" not in found(cost_centre="1")


def test_models_of_the_configuration_are_compared():
    says = {each.key: each for each in remarks(register(), TODAY, {"sorter": "other", "second": "hiring"})}
    assert says["models.sorter"].level == "error"
    assert "does not list it" in says["models.second"].says


@pytest.mark.parametrize(
    ("changed", "risk"),
    [
        ({}, "high"),
        ({"risk": "limited"}, "high"),
        ({"risk": "limited", "exception": {"article": "6(3)", "reason": "r", "assessed_by": "a"}}, "limited"),
        ({"practices": ["social-scoring"]}, "prohibited"),
        ({"risk": "minimal", "annex_iii": None}, "minimal"),
    ],
    ids=["high", "understated", "excepted", "prohibited", "minimal"],
)
def test_the_risk_that_counts_follows_from_the_entry(changed, risk):
    assert register(**changed).systems["hiring"].effective_risk == risk


def test_differences_are_told_key_by_key():
    before = load_register({"systems": {"hiring": SYSTEM, "gone": {"risk": "minimal"}}})
    after = load_register(
        {"systems": {"hiring": {**SYSTEM, "owner": "new", "regions": None}, "new": {"risk": "minimal"}}}
    )
    assert [(each.system, each.kind, each.key) for each in differences(before, after)] == [
        ("gone", "removed", ""),
        ("hiring", "changed", "owner"),
        ("hiring", "changed", "regions"),
        ("new", "added", ""),
    ]
