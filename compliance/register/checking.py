"""Looks for what an entry of the register lacks or contradicts, for a person to mend before an auditor finds it."""

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Literal

from compliance.register.loading import Register
from compliance.register.model import AiSystem

Level = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Remark:
    """Something to mend.

    Attributes:
        key: key of the entry, dotted.
        says: what is wrong and what to do.
        source: the article that asks for it; empty for what is plain.
    """

    level: Level
    system: str
    key: str
    says: str
    source: str = ""


def remarks(register: Register, today: date, configured_models: dict[str, str] | None = None) -> list[Remark]:
    """Return what is to be mended, by system and key.

    Args:
        today: trainings are judged by it.
        configured_models: the system of each model of a configuration; none: models are not compared.
    """
    found: list[Remark] = []
    for name, system in sorted(register.systems.items()):
        for check in _CHECKS:
            found += check(name, system)
        found += _trainings(name, system, today)
        found += _unknown(name, system)
        if configured_models is not None:
            found += _models(name, system, configured_models)
    return sorted(found, key=lambda each: (each.system, each.level, each.key, each.says))


def _basics(name: str, system: AiSystem) -> Iterator[Remark]:
    for key in ("intended_purpose", "roles", "owner", "screening"):
        if not getattr(system, key):
            source = {"screening": "AI Act, Article 5", "roles": "AI Act, Article 3"}.get(key, "AI Act, Annex IV(1)")
            yield Remark("warning", name, key, f"{key} is missing: evidence of this system stays partial", source)
    if system.effective_risk != system.risk:
        says = f"risk is {system.risk}, and annex_iii or practices make it {system.effective_risk}"
        yield Remark("error", name, "risk", says, "AI Act, Articles 5 and 6(2)")


def _high_risk(name: str, system: AiSystem) -> Iterator[Remark]:
    if system.effective_risk != "high":
        return
    if not system.roles:
        return  # said already; without a role nothing below has an addressee
    if not system.risk_reason and not system.annex_iii and not system.annex_i:
        yield Remark("warning", name, "risk_reason", "why the system is high-risk is not said", "AI Act, Article 6")
    wanted: dict[str, tuple[str, object]] = {
        "oversight.overseers": ("AI Act, Articles 14 and 26(2)", system.oversight.overseers),
        "oversight.measures": ("AI Act, Article 14(3)", system.oversight.measures),
        "instructions_for_use": ("AI Act, Articles 13 and 26(1)", system.instructions_for_use),
        "affected_groups": ("AI Act, Article 27(1)(c)", system.affected_groups),
    }
    if "provider" in system.roles:
        wanted |= {
            "risk_file": ("AI Act, Article 9", system.risk_file),
            "data_sets": ("AI Act, Article 10", system.data_sets),
            "models": ("AI Act, Annex IV(1)", system.models),
            "provider": ("AI Act, Annex VIII(A)(1)", system.provider),
            "monitoring_plan": ("AI Act, Article 72", system.monitoring_plan),
        }
    if system.deployer == "public" and "deployer" in system.roles:
        wanted["fria"] = ("AI Act, Article 27", system.fria)
    for key, (source, value) in wanted.items():
        if not value:
            yield Remark("warning", name, key, f"{key} is missing for a high-risk system", source)


def _personal_data(name: str, system: AiSystem) -> Iterator[Remark]:
    if not system.processes_personal_data:
        if any(each.special_categories for each in system.data_sets):
            says = "personal_data is not declared, and a data set holds special categories"
            yield Remark("error", name, "personal_data", says, "GDPR, Article 9")
        return
    wanted: dict[str, tuple[str, object]] = {
        "lawful_basis": ("GDPR, Article 6", system.lawful_basis),
        "controller": ("GDPR, Article 30(1)(a)", system.controller),
        "recipients": ("GDPR, Article 30(1)(d)", system.recipients),
    }
    if system.effective_risk == "high":
        wanted["dpia"] = ("GDPR, Article 35", system.dpia)
    for key, (source, value) in wanted.items():
        if not value:
            yield Remark("warning", name, key, f"{key} is missing for a system with personal data", source)
    for recipient in system.recipients:
        if recipient.country not in EEA and recipient.transfer_basis is None:
            says = f"{recipient.name} is in {recipient.country}, outside the EEA, and no transfer_basis is given"
            yield Remark("error", name, "recipients", says, "GDPR, Articles 44 to 49")


def _trainings(name: str, system: AiSystem, today: date) -> Iterator[Remark]:
    overseers = set(system.oversight.overseers)
    for training in system.oversight.training:
        if training.person not in overseers:
            says = f"{training.person!r} is trained and not among the overseers"
            yield Remark("warning", name, "oversight.training", says)
        if training.valid_until < training.date:
            says = f"the training of {training.person!r} ends before it begins"
            yield Remark("error", name, "oversight.training", says)
    for person in sorted(overseers):
        ends = [each.valid_until for each in system.oversight.training if each.person == person]
        if not ends or max(ends) < today.isoformat():
            says = f"{person!r} has no training on record that is valid on {today}"
            yield Remark("warning", name, "oversight.training", says, "AI Act, Articles 4 and 26(2)")


def _unknown(name: str, system: AiSystem) -> Iterator[Remark]:
    known = list(AiSystem.model_fields)
    for key in system.model_extra or {}:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.8)
        if near:
            says = f"{key} is an attribute of your own; did you mean {near[0]}?"
            yield Remark("warning", name, key, says)


def _models(name: str, system: AiSystem, configured: dict[str, str]) -> Iterator[Remark]:
    for model, its_system in sorted(configured.items()):
        if its_system == name and model not in system.models:
            says = f"the configuration serves the model {model} for this system, and the register does not list it"
            yield Remark("warning", name, f"models.{model}", says, "AI Act, Article 11 and Annex IV")
    for model in sorted(system.models):
        if model in configured and configured[model] != name:
            says = f"the configuration serves it for the system {configured[model] or '(none)'}"
            yield Remark("error", name, f"models.{model}", says)


EEA = frozenset(
    "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IS IT LI LT LU LV MT NL NO PL PT RO SE SI SK".split()  # noqa: SIM905 - codes read best as words
)  # fmt: skip
"""Countries of the European Economic Area, ISO 3166-1 alpha-2, in which the GDPR applies."""

_CHECKS: tuple[Callable[[str, AiSystem], Iterator[Remark]], ...] = (_basics, _high_risk, _personal_data)
