"""The frameworks as OSCAL catalogs, in our own words, so that the identifiers of the other documents lead somewhere."""

from compliance.catalogue.model import Control, Framework
from compliance.oscal.words import (
    Document,
    Names,
    control_id,
    line,
    metadata,
    objective_id,
    prop,
    prose,
)
from compliance.package.facts import Facts


def catalog(framework: Framework, facts: Facts, names: Names) -> Document:
    """Return a framework as a catalog."""
    about = metadata(facts, names, framework.title)
    about["remarks"] = prose(
        f"{framework.title}, {framework.version}. Source: {framework.source}. Texts and dates were gone through on "
        f"{framework.checked}. {framework.note} The words are a paraphrase; the law or the criterion is what binds."
    )
    return {
        "catalog": {
            "uuid": names.uuid("catalog", framework.framework),
            "metadata": about,
            "controls": [_control(framework, each) for each in framework.controls],
        }
    }


def _control(framework: Framework, control: Control) -> Document:
    name = control_id(framework.framework, control)
    objective = objective_id(framework.framework, control)
    parts: list[Document] = [{"id": f"{name}_smt", "name": "statement", "prose": prose(control.paraphrase)}]
    tests = [
        {
            "id": objective_id(framework.framework, control, test.id),
            "name": "assessment-objective",
            "props": [prop("method", "TEST"), prop("population", test.population)],
            "prose": prose(test.says),
        }
        for test in control.tests
    ]
    asked = [
        {
            "id": objective_id(framework.framework, control, f"person.{each.id}"),
            "name": "assessment-objective",
            "props": [prop("method", "EXAMINE")],
            "prose": prose(each.asks),
        }
        for each in control.person
    ]
    if not control.not_testable:
        all_of_it = "Each of the objectives below is met over the whole period."
        parts += [{"id": objective, "name": "assessment-objective", "prose": all_of_it}, *tests, *asked]
    unknown = [*control.cannot_know, *([control.not_testable] if control.not_testable else [])]
    if unknown:
        parts.append({"id": f"{name}_gdn", "name": "guidance", "prose": prose(f"Not known here: {' '.join(unknown)}")})
    return {
        "id": name,
        "title": line(control.title),
        "props": [
            prop("label", control.id, ours=False),
            prop("source", control.source),
            prop("version", control.version or framework.version),
            *(prop("in-force", str(control.applies.in_force)) for _ in [0] if control.applies.in_force),
            *(
                prop("crosswalk", f"{other}: {', '.join(ids)}")
                for other, ids in sorted(control.crosswalk.items())
                if ids
            ),
        ],
        "parts": parts,
    }
