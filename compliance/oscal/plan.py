"""The assessment plan: what was tested, how, over which period; the results are results of this plan."""

from collections.abc import Iterable

from compliance.catalogue.model import Control, ControlTest, Framework
from compliance.evaluation.result import ControlResult
from compliance.oscal.component import TITLE
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
    resource,
)
from compliance.package.facts import Facts

PATH = "assessment-plan.json"
ORGANISATION = "The whole organisation"


def assessment_plan(facts: Facts, names: Names) -> Document:
    """Return the plan that the evaluation of a package followed."""
    register = names.uuid("resource", "register.json")
    activities = [
        _activity(names, framework, control, test)
        for framework in facts.evaluation.frameworks
        for control in framework.controls
        for test in control.tests
    ]
    return {
        "assessment-plan": filled(
            {
                "uuid": names.uuid("plan"),
                "metadata": metadata(facts, names, f"Assessment of {facts.system or 'the organisation'}"),
                "import-ssp": {
                    "href": f"#{register}",
                    "remarks": "There is no system security plan: the register of AI systems describes the systems.",
                },
                "local-definitions": filled({"activities": activities}),
                "reviewed-controls": reviewed(facts.evaluation.controls),
                "assessment-subjects": [
                    {
                        "type": "component",
                        "description": "The AI systems of the register, and the gateway that they are called through.",
                        "include-all": {},
                    }
                ],
                "assessment-assets": {
                    "components": [system_component(facts, names)],
                    "assessment-platforms": [
                        {
                            "uuid": names.uuid("platform"),
                            "title": "Evaluation over the signed log",
                            "uses-components": [{"component-uuid": names.uuid("component", TITLE)}],
                        }
                    ],
                },
                "tasks": [_task(facts, names, activities)],
                "back-matter": {
                    "resources": [
                        resource(register, "Register of AI systems", "../register.json", "application/json"),
                        resource(
                            names.uuid("resource", "evaluation.json"),
                            "Results, with every exception and query",
                            "../evaluation.json",
                            "application/json",
                        ),
                    ]
                },
            }
        )
    }


def system_component(facts: Facts, names: Names) -> Document:
    """Return the gateway as a component of the system under assessment."""
    return {
        "uuid": names.uuid("component", TITLE),
        "type": "software",
        "title": TITLE,
        "description": prose(f"The gateway {facts.gateway}, whose log {facts.origin} was evaluated."),
        "props": [prop("version", facts.versions.get("govgateway", "unknown"))],
        "status": {"state": "operational"},
    }


def reviewed(results: Iterable[ControlResult]) -> Document:
    """Return which controls were looked at, and which not and why."""
    looked_at: set[str] = set()
    left_out: dict[str, ControlResult] = {}
    for each in results:
        name = control_id(each.framework, each.control)
        if each.status in ("not-applicable", "not-testable"):
            left_out.setdefault(name, each)
        else:
            looked_at.add(name)
    props = [
        prop(each.status, name, each.reason or each.control.not_testable or "")
        for name, each in sorted(left_out.items())
        if name not in looked_at
    ]
    selection: Document = {"description": "Controls that could be tested here and that apply."}
    if looked_at:
        selection["include-controls"] = [{"control-id": name} for name in sorted(looked_at)]
    else:
        # OSCAL knows no empty selection: everything, less everything.
        selection["include-all"] = {}
        selection["exclude-controls"] = [{"control-id": name} for name in sorted(left_out)]
    return filled(
        {
            "description": "Controls that do not apply or cannot be tested at a gateway are named with the reason.",
            "props": props,
            "control-selections": [filled(selection)],
        }
    )


def _activity(names: Names, framework: Framework, control: Control, test: ControlTest) -> Document:
    return {
        "uuid": names.uuid("activity", framework.framework, control.id, test.id),
        "title": line(f"{control.id}: {test.id}"),
        "description": prose(test.says),
        "props": [
            prop("method", "TEST", ours=False),
            prop("population", test.population),
            prop("threshold-source", test.threshold_source),
            prop("objective", objective_id(framework.framework, control, test.id)),
        ],
        "related-controls": {
            "control-selections": [{"include-controls": [{"control-id": control_id(framework.framework, control)}]}]
        },
    }


def _task(facts: Facts, names: Names, activities: list[Document]) -> Document:
    return filled(
        {
            "uuid": names.uuid("task"),
            "type": "action",
            "title": line(f"Evaluate {facts.period}"),
            "timing": {
                "within-date-range": {
                    "start": moment(facts.period.start_ns),
                    "end": moment(facts.period.end_ns),
                }
            },
            "associated-activities": [
                {"activity-uuid": each["uuid"], "subjects": [{"type": "component", "include-all": {}}]}
                for each in activities
            ],
        }
    )
