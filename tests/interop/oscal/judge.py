"""Reads OSCAL documents with compliance-trestle and against NIST's metaschema; says as JSON what it read.

Run by the tests in an environment of its own: judge.py DIRECTORY.
"""

import json
import logging
import sys
from pathlib import Path
from typing import Any

from oscal import OSCAL
from trestle.oscal import assessment_plan, assessment_results, catalog, component, poam

MODELS = {
    "assessment-plan": assessment_plan.Model,
    "assessment-results": assessment_results.Model,
    "catalog": catalog.Model,
    "component-definition": component.Model,
    "plan-of-action-and-milestones": poam.Model,
}


def judge(path: Path) -> dict[str, Any]:
    """Return what both say of a document."""
    text = path.read_text("utf-8")
    root = next(iter(json.loads(text)))
    model = MODELS[root].model_validate_json(text)
    judged = OSCAL.loads(text)
    valid = judged.validate()
    found: dict[str, Any] = {
        "model": root,
        "version": getattr(model, root.replace("-", "_")).metadata.oscal_version.model_dump(),
        "metaschema": valid and all(judged.validation_status.values()),
        "phases": judged.validation_status,
        "errors": [str(each) for each in judged.validation_errors[:5]],
    }
    if root == "assessment-results":
        found["findings"] = {
            finding.target.target_id: finding.target.status.state.value
            for result in model.assessment_results.results
            for finding in result.findings or []
        }
    return found


if __name__ == "__main__":
    logging.disable()
    sys.stdout.write(json.dumps({path.name: judge(path) for path in sorted(Path(sys.argv[1]).glob("*.json"))}))
