"""The component definition: what this gateway does towards each control, whoever runs it."""

from compliance.catalogue.model import Control, Framework
from compliance.oscal.words import Document, Names, catalog_path, control_id, filled, metadata, prop, prose
from compliance.package.facts import Facts

TITLE = "govgateway"


def component_definition(facts: Facts, names: Names) -> Document:
    """Return what the gateway does towards the controls that can be tested at it."""
    component: Document = {
        "uuid": names.uuid("component", TITLE),
        "type": "software",
        "title": TITLE,
        "description": (
            "A gateway that every AI call of a company passes: it authenticates callers, decides by policy, limits, "
            "records every call in a signed log, and turns that log into evidence."
        ),
        "props": [prop("version", facts.versions.get("govgateway", "unknown"))],
        "control-implementations": [
            _implementation(framework, names) for framework in facts.evaluation.frameworks if _testable(framework)
        ],
    }
    return {
        "component-definition": {
            "uuid": names.uuid("component-definition"),
            "metadata": metadata(facts, names, "What the gateway does towards each control"),
            "components": [filled(component)],
        }
    }


def _testable(framework: Framework) -> list[Control]:
    return [each for each in framework.controls if each.tests]


def _implementation(framework: Framework, names: Names) -> Document:
    return {
        "uuid": names.uuid("implementation", framework.framework),
        "source": catalog_path(framework),
        "description": prose(f"Tests over the signed log for {framework.title}, {framework.version}."),
        "implemented-requirements": [
            {
                "uuid": names.uuid("requirement", framework.framework, control.id),
                "control-id": control_id(framework.framework, control),
                "description": prose(" ".join(each.says for each in control.tests)),
                "props": [prop("population", each) for each in sorted({each.population for each in control.tests})],
                "remarks": prose(
                    " ".join(
                        [
                            *(f"A person supplies: {each.asks}" for each in control.person),
                            *(f"Not known to the gateway: {each}" for each in control.cannot_know),
                        ]
                    ),
                    otherwise="Nothing else is needed from a person.",
                ),
            }
            for control in _testable(framework)
        ],
    }
