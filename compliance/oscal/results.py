"""The assessment results: an observation a test, a finding a control, a risk where one does not hold."""

from collections.abc import Iterator

from compliance.evaluation.result import ControlResult, ControlTestResult, PersonResult
from compliance.oscal.component import TITLE
from compliance.oscal.plan import ORGANISATION, PATH, reviewed
from compliance.oscal.words import (
    Document,
    Names,
    control_id,
    filled,
    line,
    metadata,
    moment,
    objective_id,
    prop,
    prose,
)
from compliance.package.facts import Facts

EXCEPTIONS = 50
"""Exceptions that an observation lists; all of them are in evaluation.json."""

_JUDGED = ("pass", "attested", "fail", "partial")
_SATISFIED = ("pass", "attested")


def assessment_results(facts: Facts, names: Names) -> Document:
    """Return the results: one set for the organisation, and one for each AI system."""
    systems = sorted({each.system for each in facts.evaluation.controls})
    return {
        "assessment-results": {
            "uuid": names.uuid("results"),
            "metadata": metadata(facts, names, f"Results for {facts.system or 'the organisation'}, {facts.period}"),
            "import-ap": {"href": PATH},
            "results": [_result(facts, names, system) for system in systems or [""]],
        }
    }


def open_controls(facts: Facts) -> Iterator[ControlResult]:
    """Yield the controls that do not hold, or not wholly."""
    return (each for each in facts.evaluation.controls if each.status in ("fail", "partial"))


def observations_of(facts: Facts, names: Names, result: ControlResult) -> list[Document]:
    """Return what was observed of a control."""
    return [
        *(_observation(facts, names, result, each) for each in result.tests if each.status != "not-applicable"),
        *(_statement(facts, names, result, each) for each in result.person),
    ]


def finding(facts: Facts, names: Names, result: ControlResult) -> Document:
    """Return what was found of a control. OSCAL knows no partial: it is not satisfied, and a property says so."""
    satisfied = result.status in _SATISFIED
    observed = observations_of(facts, names, result)
    return filled(
        {
            "uuid": names.uuid("finding", result.framework, result.control.id, result.system),
            "title": line(f"{result.control.id}: {result.control.title}"),
            "description": prose(_found(result)),
            "props": [
                prop("status", result.status),
                prop("source", result.control.source),
                prop("version", result.version),
                *([prop("in-force", result.in_force)] if result.in_force else []),
                prop("binding", result.binding, "" if result.binding else "Not binding yet: this is preparation."),
            ],
            "target": {
                "type": "objective-id",
                "target-id": objective_id(result.framework, result.control),
                "status": {
                    "state": "satisfied" if satisfied else "not-satisfied",
                    "reason": "pass" if result.status == "pass" else "fail" if result.status == "fail" else "other",
                },
            },
            "related-observations": [{"observation-uuid": each["uuid"]} for each in observed],
            "related-risks": [] if satisfied else [{"risk-uuid": risk_uuid(names, result)}],
        }
    )


def risk(names: Names, facts: Facts, result: ControlResult) -> Document:
    """Return the risk that goes with a control that does not hold."""
    return filled(
        {
            "uuid": risk_uuid(names, result),
            "title": line(f"{result.control.id} is {result.status}"),
            "description": prose(_found(result)),
            "statement": prose(
                f"What {result.control.source} asks is not shown for {result.system or 'the organisation'} in this "
                "period. How much that matters is for people to judge."
            ),
            "status": "open",
            "related-observations": [
                {"observation-uuid": each["uuid"]} for each in observations_of(facts, names, result)
            ],
        }
    )


def risk_uuid(names: Names, result: ControlResult) -> str:
    """Return the identifier of the risk of a control."""
    return names.uuid("risk", result.framework, result.control.id, result.system)


def _result(facts: Facts, names: Names, system: str) -> Document:
    found = [each for each in facts.evaluation.controls if each.system == system]
    judged = [each for each in found if each.status in _JUDGED]
    return filled(
        {
            "uuid": names.uuid("result", system),
            "title": line(system or ORGANISATION),
            "description": prose(
                f"Evaluated over {facts.period} from the log {facts.origin} as it was signed with "
                f"{facts.checkpoint.size} records."
            ),
            "start": moment(facts.period.start_ns),
            "end": moment(facts.period.end_ns),
            "props": [prop("uncovered-day", day, why) for day, why in facts.evaluation.uncovered],
            "reviewed-controls": reviewed(found),
            "observations": [each for result in judged for each in observations_of(facts, names, result)],
            "risks": [risk(names, facts, each) for each in judged if each.status not in _SATISFIED],
            "findings": [finding(facts, names, each) for each in judged],
        }
    )


def _found(result: ControlResult) -> str:
    said = [f"{each.test.says} {each.measured}" for each in result.tests if each.status == result.status]
    said += [f"{each.asks} ({each.status})" for each in result.person if each.status != "given"]
    return result.reason or " ".join(said) or result.control.paraphrase


def _observation(facts: Facts, names: Names, result: ControlResult, test: ControlTestResult) -> Document:
    failed = [each.day for each in test.days if each.status != "pass"]
    more = len(test.exceptions) - EXCEPTIONS
    return filled(
        {
            "uuid": names.uuid("observation", result.framework, result.control.id, result.system, test.test.id),
            "title": line(f"{result.control.id}: {test.test.id}"),
            "description": prose(f"{test.test.says} Measured: {test.measured}. {test.reason}"),
            "props": [
                prop("status", test.status),
                prop("population", test.test.population),
                prop("rows", test.rows),
                prop("exceptions", len(test.exceptions)),
                prop("days-not-passed", len(failed)),
                prop("objective", objective_id(result.framework, result.control, test.test.id)),
                prop("control", control_id(result.framework, result.control)),
                prop("query", test.query),
            ],
            "methods": ["TEST"],
            "types": ["control-objective"],
            "origins": [{"actors": [{"type": "tool", "actor-uuid": names.uuid("component", TITLE)}]}],
            "relevant-evidence": [
                {
                    "href": f"../populations/{test.test.population}.jsonl",
                    "description": "The population that the test is about.",
                },
                *(
                    {
                        "href": f"../populations/{test.test.population}.jsonl",
                        "description": "An exception.",
                        "props": filled_props(("leaf", leaf), ("event-id", event)),
                    }
                    for leaf, event in test.exceptions[:EXCEPTIONS]
                ),
            ],
            "collected": moment(facts.checkpoint.time_ns),
            "remarks": prose(f"{more} further exceptions are in evaluation.json.") if more > 0 else "",
        }
    )


def _statement(facts: Facts, names: Names, result: ControlResult, person: PersonResult) -> Document:
    return filled(
        {
            "uuid": names.uuid("statement", result.framework, result.control.id, result.system, person.id),
            "title": line(f"{result.control.id}: {person.id}"),
            "description": prose(f"{person.asks} {person.statement or 'Nobody stated anything.'}"),
            "props": filled_props(
                ("status", person.status),
                ("stated-by", facts.pseudonym(person.by) if person.by else ""),
                ("stated-on", person.on),
                ("valid-until", person.valid_until),
                ("reference", person.reference),
                ("reference-sha256", person.sha256),
            ),
            "methods": ["EXAMINE"],
            "types": ["control-objective"],
            "collected": moment(facts.checkpoint.time_ns),
        }
    )


def filled_props(*given: tuple[str, str | int]) -> list[Document]:
    """Return properties for those that have a value."""
    return [prop(name, value) for name, value in given if value not in ("", None)]
