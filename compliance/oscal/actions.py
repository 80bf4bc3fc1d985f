"""The plan of action and milestones: each control that does not hold, to be filled in by those who mend it."""

from compliance.oscal.plan import system_component
from compliance.oscal.results import finding, observations_of, open_controls, risk, risk_uuid
from compliance.oscal.words import Document, Names, line, metadata, prop, prose
from compliance.package.facts import Facts


def plan_of_action(facts: Facts, names: Names) -> Document | None:
    """Return what is to be mended; None where nothing is, since OSCAL knows no empty plan."""
    still_open = list(open_controls(facts))
    if not still_open:
        return None
    findings = [finding(facts, names, each) for each in still_open]
    return {
        "plan-of-action-and-milestones": {
            "uuid": names.uuid("actions"),
            "metadata": metadata(facts, names, f"To be mended: {facts.system or 'the organisation'}, {facts.period}"),
            "system-id": {"identifier-type": "http://ietf.org/rfc/rfc4122", "id": names.uuid("system", facts.gateway)},
            "local-definitions": {"components": [system_component(facts, names)]},
            "observations": [each for result in still_open for each in observations_of(facts, names, result)],
            "risks": [risk(names, facts, each) for each in still_open],
            "findings": findings,
            "poam-items": [
                {
                    "uuid": names.uuid("item", each.framework, each.control.id, each.system),
                    "title": line(f"{each.control.id}: {each.control.title}"),
                    "description": prose(f"{each.status} for {each.system or 'the organisation'}."),
                    "props": [prop("responsible", "to be named by the operator"), prop("due", "to be set")],
                    "related-findings": [{"finding-uuid": found["uuid"]}],
                    "related-risks": [{"risk-uuid": risk_uuid(names, each)}],
                }
                for each, found in zip(still_open, findings, strict=True)
            ],
        }
    }
