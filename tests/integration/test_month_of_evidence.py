"""A month of calls and of people's acts through a real gateway, and what evidence says of it.

In its first half everything is as it has to be, and no control is red. In the second, six things are not: each is red in
its own controls, on its own days, and nothing else is.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.faked_time import FakedTime
from tests.support.month_acts import (
    back_up_inventory,
    change_policies,
    close_review,
    cut_power,
    decide_review,
    incident,
    maintain,
    open_and_erase_content,
    open_incident,
    oversee,
    restore_inventory,
    revoke,
    start_review,
)
from tests.support.month_of_traffic import SET_UP, Act, Month, day
from tests.support.running_gateway import ROOT, govctl

pytestmark = [pytest.mark.interop, pytest.mark.timeout(400)]

SEED = "4711 and a cat"
CLEAN, FAULTY = (1, 15), (16, 30)
HIGH_RISK = ("appeals", "benefits", "hiring")


ORDERLY: Mapping[str, Act] = {
    "02 10:00": start_review("spring", 12),
    "03 11:00": change_policies("more-tokens", 900_000),
    "04 10:30": Month.approve,
    "05 10:00": open_incident,
    "05 14:00": incident("assess", "--class", "personal-data-breach", "--reason", "reproduced"),
    "06 12:00": lambda month: month.secret("gpu.token"),
    "07 10:00": incident("report", "--duty", "gdpr-33", "--to", "data protection authority"),
    "08 10:00": open_and_erase_content,
    "08 12:30": revoke("visitor"),
    "09 15:00": decide_review("spring"),
    "09 16:00": close_review("spring"),
    "10 15:00": incident("close", "--reason", "the list is destroyed"),
    "11 13:00": Month.drill,
    "13 20:00": maintain,
}


@dataclass(frozen=True)
class Fault:
    """Something that is not as it has to be.

    Attributes:
        acts: what happens when.
        red: tests of controls that do not hold, each with the systems that it is about.
        days: the days on which they do not.
    """

    acts: Mapping[str, Act]
    red: Mapping[str, tuple[str, ...]]
    days: tuple[int, ...]


FAULTS = {
    "a review that is closed late": Fault(
        {
            "14 10:00": start_review("late", 18),
            "17 11:00": decide_review("late"),
            "20 11:00": close_review("late"),
        },
        {"CC6.2/reviews-complete": ("",)},
        (16,),  # of what began before the period, its first day
    ),
    "policies that nobody but their author looked at": Fault(
        {"17 18:00": change_policies("alone", 800_000, approver="")},
        {"CC8.1/second-person": ("",)},
        (17,),
    ),
    "an agent that is revoked, and calls": Fault(
        {
            "20 22:00": back_up_inventory,
            "21 11:00": lambda month: month.revoke("scout", "its key was seen elsewhere"),
            "21 22:00": restore_inventory,  # and with it the agent's place
            "23 12:00": revoke("scout"),
        },
        {"CC6.3/no-use-after-revocation": ("",)},
        (21,),
    ),
    "a system that nobody oversees": Fault(
        {"24 08:00": oversee("nobody"), "26 08:00": oversee("again", "grace@gateway.test")},
        {"AIA-14/calls-overseen": ("benefits",), "AIA-26.2/calls-overseen": ("benefits",)},
        (24, 25),
    ),
    "a gap of the log": Fault(
        {"27 14:20": cut_power},
        {
            "AIA-12.1/gaps-explained": ("hiring",),
            "CC2.1/gaps-explained": ("",),
            "CC7.2/gaps-explained": ("",),
            "A1.1/gaps-explained": ("",),
        },
        (27,),
    ),
    "a secret that is too old": Fault(
        {},  # nobody changes gpu-2.token
        {"CC6.1/secrets-rotated": ("",), "GDPR-32/secrets-rotated": HIGH_RISK},
        (28, 29, 30),
    ),
}


@dataclass(frozen=True)
class Told:
    """The two packages, and the gateway's directory."""

    home: Path
    clean: Path
    faulty: Path


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    directory = tmp_path_factory.mktemp("month")
    late = {when: act for fault in FAULTS.values() for when, act in fault.acts.items()}
    with FakedTime(directory, SET_UP) as faked, _backend() as backend, Month(directory, backend, faked) as month:
        month.register("researcher", "research")
        month.register("clerk", "people", "--risk-tier", "high")
        month.register("batch", "indexing")
        month.register("visitor", "research")
        month.register("scout", "research")
        month.register("grace", "oversight", kind="human")
        month.register("auditor", "audit", "--attribute", "operator=auditor", kind="human")
        month.play("16 00:20", {**ORDERLY, **{when: act for when, act in late.items() if when < "16"}})
        clean = month.export("clean", CLEAN, SEED)
        month.play("31 00:20", {when: act for when, act in late.items() if when >= "16"})
        faulty = month.export("faulty", FAULTY, SEED)
        yield Told(month.home, clean, faulty)
        assert month.gateway.stop() == 0


@contextmanager
def _backend() -> Iterator[str]:
    """Yield the address of an example model server that is in the time of the gateway."""
    server = ROOT / "deploy" / "example_model" / "server.py"
    process = subprocess.Popen(
        [sys.executable, str(server), "--port", "0", "--delay-ms", "1"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        said = ""
        while "http://" not in said:
            said = process.stdout.readline()
            assert said, "the example model server ended"
        yield "http://" + said.split("http://")[1].split()[0].rstrip("/.,") + "/v1"
    finally:
        process.terminate()
        process.communicate(timeout=10)


def evaluated(package: Path) -> list[dict[str, Any]]:
    """Return what the package says of each control."""
    found: list[dict[str, Any]] = json.loads((package / "evaluation.json").read_text())["controls"]
    return found


def red(package: Path) -> dict[tuple[str, str], tuple[int, ...]]:
    """Return the tests that do not hold, by control, test and system; with the days on which they do not."""
    return {
        (f"{control['control']}/{test['id']}", control["system"]): tuple(
            int(each["day"][-2:]) for each in test["days"] if each["status"] != "pass"
        )
        for control in evaluated(package)
        for test in control["tests"]
        if test["status"] in ("fail", "partial")
    }


def rows(package: Path, population: str) -> list[dict[str, Any]]:
    """Return a population."""
    return [json.loads(line) for line in (package / "populations" / f"{population}.jsonl").read_text().splitlines()]


def test_in_an_orderly_half_month_no_control_is_red_and_nothing_that_people_supply_is_missing(told: Told) -> None:
    assert red(told.clean) == {}
    assert {each["status"] for each in evaluated(told.clean)} == {"pass", "attested", "not-applicable", "not-testable"}


def test_each_fault_is_red_in_its_controls_on_its_days_and_nothing_else_is(told: Told) -> None:
    assert red(told.faulty) == {
        (test, system): fault.days
        for fault in FAULTS.values()
        for test, systems in fault.red.items()
        for system in systems
    }
    controls = {test.partition("/")[0] for fault in FAULTS.values() for test in fault.red}
    assert {each["control"] for each in evaluated(told.faulty) if each["status"] == "fail"} == controls


def test_every_day_is_covered_and_has_its_calls(told: Told) -> None:
    for package, (first, last) in ((told.clean, CLEAN), (told.faulty, FAULTY)):
        days = rows(package, "coverage")
        assert [each["day"] for each in days] == [day(number) for number in range(first, last + 1)]
        assert all(each["covered"] and each["whole"] for each in days)
        assert min(each["calls"] for each in days) >= 12
    calls = rows(told.clean, "calls")
    assert {each["problem"] for each in calls} >= {"", "policy-denied", "quota-exceeded", "approval-required"}
    assert {each["identity"] for each in calls} == {"x509-svid"}


def test_what_people_did_in_order_is_told(told: Told) -> None:
    (change,) = rows(told.clean, "policy_changes")
    assert (change["revision"], change["approver_is_other"], change["checks_passed"]) == ("more-tokens", True, True)
    (reported,) = rows(told.clean, "incidents")
    assert (reported["must_report"], reported["reported_in_time"], reported["closed"]) == (True, True, True)
    (erasure,) = rows(told.clean, "erasures")
    assert erasure["in_time"]
    assert [each["reason"] for each in rows(told.clean, "content_access")] == ["Art. 15 request 12"]
    assert {each["kind"] for each in rows(told.clean, "oversight")} == {
        "request", "approval", "use", "stop", "resume", "drill",
    }  # fmt: skip
    assert {each["review"]: each["closed_at"] is None for each in rows(told.clean, "reviews")} == {
        "spring": False,
        "late": True,
    }
    (revocation,) = rows(told.clean, "revocations")
    assert revocation["seconds_to_last_accepted_call"] <= 5


def test_a_fault_is_told_with_its_figures(told: Told) -> None:
    lost, *_ = [each for each in rows(told.faulty, "revocations") if each["day"] == day(21)]
    assert lost["accepted_after"] >= 2
    assert lost["seconds_to_last_accepted_call"] > 86_400
    (ended,) = [each for each in rows(told.faulty, "gaps") if not each["explained"]]
    assert (ended["kind"], ended["day"]) == ("ended", day(27))
    allowed = [each for each in rows(told.faulty, "calls") if each["decision"] == "allow"]
    unseen = {
        (each["system"], each["day"]) for each in allowed if each["system_risk"] == "high" and not each["overseen"]
    }
    assert unseen == {("benefits", day(24)), ("benefits", day(25))}
    aged = [each for each in rows(told.faulty, "secrets") if not each["rotated_in_time"]]
    assert {(Path(each["reference"]).name, each["age_days"]) for each in aged} == {
        ("gpu-2.token", age) for age in (90, 91, 92)
    }


@pytest.mark.parametrize("name", ["clean", "faulty"])
def test_an_auditor_proves_the_package_with_the_verifier_in_it_alone(told: Told, name: str) -> None:
    package: Path = getattr(told, name)
    first, last = CLEAN if name == "clean" else FAULTY
    key = (told.home / "state/audit/checkpoint.vkey").read_text().strip()
    pem = told.home / "state/audit/evidence/evidence.pem"
    done = subprocess.run(
        [sys.executable, "-I", package / "verify_evidence.py", package, "--evidence-key", pem, "--log-key", key,
         "--system", "", "--from", day(first), "--to", day(last), "--seed", SEED],
        capture_output=True, text=True, timeout=60, check=False, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 spoilt copies rejected" in done.stdout


@pytest.mark.parametrize("name", ["clean", "faulty"])
def test_sampled_decisions_are_made_again_with_the_same_answers(told: Told, name: str) -> None:
    fingerprint = json.loads(govctl(told.home, "evidence", "key", "--json").stdout)["fingerprint"]
    done = govctl(
        told.home, "verify-evidence", name, "--evidence-key", fingerprint, "--log-key", "state/audit/checkpoint.vkey",
        "--seed", SEED, "--replay", "--json", check=False,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert (done.returncode, found["wrong"]) == (0, [])
    assert found["facts"]["replayed"] >= 20
