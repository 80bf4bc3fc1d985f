"""Evidence as OSCAL (NIST Open Security Controls Assessment Language): for tools of auditors that read it."""

from compliance.oscal.actions import plan_of_action
from compliance.oscal.catalogs import catalog
from compliance.oscal.component import component_definition
from compliance.oscal.plan import PATH, assessment_plan
from compliance.oscal.results import assessment_results
from compliance.oscal.words import Names, catalog_path, write
from compliance.package.facts import Facts
from compliance.package.output import Output

__all__ = ["OSCAL", "Oscal"]


class Oscal:
    """The OSCAL documents of a package (`compliance.package.part.Part`)."""

    def write(self, facts: Facts, out: Output) -> None:
        """Write the catalogs, the component definition, the plan, the results, and what is to be mended."""
        names = Names(facts)
        for framework in facts.evaluation.frameworks:
            write(out, catalog_path(framework), catalog(framework, facts, names))
        write(out, "component-definition.json", component_definition(facts, names))
        write(out, PATH, assessment_plan(facts, names))
        write(out, "assessment-results.json", assessment_results(facts, names))
        actions = plan_of_action(facts, names)
        if actions is not None:
            write(out, "plan-of-action-and-milestones.json", actions)


OSCAL = Oscal()
