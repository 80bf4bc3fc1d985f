"""What evidence is measured with: register, catalogue and statements of people, read once and told apart by digest."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from audit.export.source import Source
from compliance.catalogue.loading import load_catalogue
from compliance.catalogue.model import Framework
from compliance.errors import ComplianceError
from compliance.evaluation.attestations import load_statements
from compliance.evaluation.evaluating import evaluate
from compliance.evaluation.result import Evaluation
from compliance.package.facts import Data
from compliance.package.question import Question
from compliance.package.world import Progress
from compliance.populations.context import Backend, Context
from compliance.populations.dataset import Dataset
from compliance.populations.extraction import extract
from compliance.populations.registry import POPULATIONS
from compliance.register import load_register
from gateway.app import policy_store, stored_policies
from gateway.authorization.policy_set import LoadedPolicySet
from gateway.config import GatewayConfig
from gateway.errors import ConfigError
from gateway.evidence import policies_in_force
from gateway.evidence_world import Measures


def measures_of(config: GatewayConfig, asked: Question, controls: Sequence[str] = ()) -> tuple[Measures, Question]:
    """Return what the populations are made and judged with, and the question with all that decides the answer.

    Args:
        config: the configuration.
        asked: what is asked for; its frameworks may be none, which means all.
        controls: identifiers of controls; empty for all of the frameworks.

    Raises:
        ComplianceError: an unknown system, framework or control; or a file cannot be used.
        ConfigError: the policies cannot be used.
    """
    register = load_register(tables_of(policies_in_force(config)))
    if asked.system:
        register.get(asked.system)
    frameworks = only(load_catalogue(config.compliance.catalogue, POPULATIONS).chosen(asked.frameworks), controls)
    statements = load_statements(config.compliance.attestations)
    plain = {name: each.model_dump(mode="json") for name, each in sorted(register.systems.items())}
    context = Context(
        register, _tables_by_digest(config), {each.name: Backend(each.region) for each in config.backends}
    )

    def made(source: Source, database: Path, progress: Progress) -> Data:
        def told(done: int, of: int) -> None:
            progress("reading the log", done, of)

        return extract(source, asked.period, database, context, told)

    def judged(data: Data, _source: Source) -> Evaluation:
        if not isinstance(data, Dataset):
            raise TypeError("controls are decided over the populations that were extracted")
        return evaluate(data, frameworks, register, asked.period, asked.system, statements)

    question = Question(
        asked.log,
        asked.system,
        asked.period,
        tuple(sorted(each.framework for each in frameworks)),
        asked.real_names,
        asked.samples,
        {
            "attestations": _digest([each.model_dump(mode="json") for each in statements]),
            "catalogue": _digest([each.model_dump(mode="json") for each in frameworks]),
            "register": _digest(register.tables),
        },
        tuple(sorted(set(controls))),
    )
    return Measures(made, judged, plain), question


def tables_of(policies: LoadedPolicySet) -> Mapping[str, Any]:
    """Return the tables of the policies, by name."""
    tables: Mapping[str, Any] = orjson.loads(policies.data_json).get("govgateway", {})
    return tables


def only(frameworks: Sequence[Framework], controls: Sequence[str]) -> tuple[Framework, ...]:
    """Return the frameworks with these controls alone; all of them, if none is named.

    Raises:
        ComplianceError: none of the frameworks has a control of that name.
    """
    if not controls:
        return tuple(frameworks)
    known = {control.id for framework in frameworks for control in framework.controls}
    for each in controls:
        if each not in known:
            names = ", ".join(framework.framework for framework in frameworks)
            raise ComplianceError(f"none of the frameworks {names} has the control {each!r}")
    chosen = (
        each.model_copy(update={"controls": [control for control in each.controls if control.id in controls]})
        for each in frameworks
    )
    return tuple(each for each in chosen if each.controls)


def _tables_by_digest(config: GatewayConfig) -> Callable[[str], Mapping[str, Any] | None]:
    """Return what finds the tables of a revision by the digest of its data, among those that are kept."""
    bundles = {each.data_digest: each.digest for each in policy_store(config).history().activations}

    def found(data_digest: str) -> Mapping[str, Any] | None:
        try:
            return tables_of(stored_policies(config, bundles[data_digest]))
        except (KeyError, ConfigError):
            return None

    return found


def _digest(document: Any) -> str:
    return sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()
