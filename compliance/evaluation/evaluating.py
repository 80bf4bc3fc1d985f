"""Decides every control of some frameworks over a period, for one AI system or for the organisation."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

from compliance.catalogue.model import Control, Framework
from compliance.evaluation.attestations import Statement, check_statements, supplied
from compliance.evaluation.measuring import Asked, measure
from compliance.evaluation.result import ControlResult, ControlTestResult, Evaluation, PersonResult, Status
from compliance.period import Period
from compliance.register import AiSystem, Register


class Data(Asked, Protocol):
    """The populations, and which days the log covers."""

    def uncovered(self) -> list[tuple[str, str]]:
        """Return the days that the log does not cover, and why."""


class _Remembered:
    """Populations that are asked the same only once: controls of several frameworks share their tests."""

    def __init__(self, data: Data) -> None:
        self.populations = data.populations
        self._query = lru_cache(maxsize=None)(data.query)

    def query(self, sql: str) -> list[tuple[object, ...]]:
        return self._query(sql)


def evaluate(
    data: Data,
    frameworks: Sequence[Framework],
    register: Register,
    period: Period,
    system: str,
    statements: Sequence[Statement],
) -> Evaluation:
    """Decide the controls.

    Args:
        data: the populations of the period.
        frameworks: whose controls.
        register: the AI systems.
        period: the days.
        system: the AI system; empty for all of them and the organisation.
        statements: what people state beside the log.

    Raises:
        ComplianceError: the register has no such system, or a statement is about nothing that is asked.
    """
    systems = [system] if system else sorted(register.systems)
    for name in systems:
        register.get(name)
    check_statements(statements, [control for framework in frameworks for control in framework.controls])
    uncovered = data.uncovered()
    asked = _Remembered(data)
    results: list[ControlResult] = []
    for framework in frameworks:
        for control in framework.controls:
            places = [""] if control.scope == "organisation" else systems
            results += [
                _control(asked, framework, control, register, period, place, statements, dict(uncovered))
                for place in places
            ]
    return Evaluation(period, system, tuple(frameworks), tuple(results), tuple(uncovered))


def _control(
    data: Asked,
    framework: Framework,
    control: Control,
    register: Register,
    period: Period,
    system: str,
    statements: Sequence[Statement],
    uncovered: Mapping[str, str],
) -> ControlResult:
    entry = register.systems.get(system)
    applies = control.applies
    in_force = applies.in_force
    if entry is not None and entry.annex_i and entry.annex_iii is None and applies.in_force_annex_i is not None:
        in_force = applies.in_force_annex_i
    day = in_force.isoformat() if in_force is not None else ""
    binding = in_force is None or in_force <= period.last
    version = control.version or framework.version

    def result(
        status: Status,
        reason: str = "",
        tests: tuple[ControlTestResult, ...] = (),
        person: tuple[PersonResult, ...] = (),
    ) -> ControlResult:
        return ControlResult(framework.framework, control, system, status, day, binding, version, reason, tests, person)

    if control.not_testable is not None:
        return result("not-testable", control.not_testable)
    why = _does_not_apply(control, entry) if control.scope == "system" else ""
    if why:
        return result("not-applicable", why)
    written: Mapping[str, Any] = (register.tables.get("systems") or {}).get(system) or {}
    tests = tuple(measure(data, test, period, uncovered, system) for test in control.tests)
    person = tuple(supplied(item, control.id, system, period, statements, written) for item in control.person)
    return result(_status(tests, person), _reason(tests, person), tests, person)


def _does_not_apply(control: Control, entry: AiSystem | None) -> str:
    """Return why a control does not concern a system; empty where it does."""
    applies = control.applies
    if entry is None:
        return "it is about an AI system"
    # Whoever uses a system is its deployer (AI Act, Article 3(4)): a register that says nothing frees nobody of that.
    roles = entry.roles or ["deployer"]
    said = "the company is" if entry.roles else "the register names no role, so the company counts as"
    reasons = {
        f"it binds {' and '.join(applies.roles)}, and {said} {', '.join(roles)}": (
            bool(applies.roles) and not set(applies.roles) & set(roles)
        ),
        f"it concerns systems of {' or '.join(applies.risk)} risk, and this one is {entry.effective_risk}": (
            bool(applies.risk) and entry.effective_risk not in applies.risk
        ),
        f"it concerns the areas {', '.join(applies.annex_iii)} of Annex III": (
            bool(applies.annex_iii) and entry.annex_iii not in applies.annex_iii
        ),
        f"it binds {applies.deployer} deployers": applies.deployer not in (None, entry.deployer),
        "the register says that Article 50 does not concern the system": (
            applies.transparency not in (None, bool(entry.transparency))
        ),
        "the system does not profile people": applies.profiling not in (None, entry.profiling),
        "the register declares no personal data for the system": (
            applies.personal_data not in (None, entry.processes_personal_data)
        ),
    }
    return next((why for why, holds in reasons.items() if holds), "")


def _status(tests: Sequence[ControlTestResult], person: Sequence[PersonResult]) -> Status:
    outcomes = {test.status for test in tests}
    given = all(item.status == "given" for item in person)
    if "fail" in outcomes:
        return "fail"
    if "partial" in outcomes or not given:
        return "partial"
    if "pass" in outcomes:
        return "pass"
    if person:
        return "attested"
    return "not-applicable"


def _reason(tests: Sequence[ControlTestResult], person: Sequence[PersonResult]) -> str:
    said: dict[str, list[str]] = {}
    for test in tests:
        if test.status in ("fail", "partial"):
            said.setdefault(test.reason or test.measured, []).append(test.test.id)
    parts = [f"{', '.join(ids)}: {why}" for why, ids in said.items()]
    parts += [f"{item.id}: {item.status}" for item in person if item.status != "given"]
    if not parts and tests and all(test.status == "not-applicable" for test in tests):
        return "nothing happened in the period that it is about"
    return "; ".join(parts)
