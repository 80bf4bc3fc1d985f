"""Chooses which documents a package gets, writes each as Markdown and DOCX, and an index that says why."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from compliance.documents.conformity import declaration, monitoring_report, registration
from compliance.documents.deployment import deployer_record, impact_assessment
from compliance.documents.incidents import incident_reports
from compliance.documents.markdown import escaped, markdown
from compliance.documents.model import Document
from compliance.documents.organisation import control_matrix, erasure_certificates, processing_record
from compliance.documents.technical import logging_description, technical_documentation
from compliance.documents.view import View
from compliance.documents.word import word
from compliance.package.facts import Facts
from compliance.package.output import Output

DIRECTORY = "documents"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of document of one AI system.

    Attributes:
        controls: the controls that it goes with: it is written where one of them applies.
        make: makes it.
    """

    title: str
    controls: tuple[str, ...]
    make: Callable[[View], Document | Iterator[Document]]


KINDS = (
    Kind("Technical documentation (Annex IV)", ("AIA-11",), technical_documentation),
    Kind("Logging (Articles 12 and 19)", ("AIA-12.1", "AIA-19"), logging_description),
    Kind("Deployer's record (Article 26)", ("AIA-26.1",), deployer_record),
    Kind("Fundamental rights impact assessment (Article 27)", ("AIA-27",), impact_assessment),
    Kind("Declaration of conformity (Annex V)", ("AIA-43",), declaration),
    Kind("Registration (Annex VIII)", ("AIA-43",), registration),
    Kind("Monitoring report (Article 72)", ("AIA-72",), monitoring_report),
    Kind("Reports of serious incidents (Article 73)", ("AIA-73",), incident_reports),
)


_README = """\
# Documents

Filled from the register of AI systems and the signed log. They are drafts until a person fills their gaps and signs
them. Each is here as Markdown and as DOCX, with the same words.

"""


class GeneratedDocuments:
    """The documents of a package (`compliance.package.part.Part`)."""

    def write(self, facts: Facts, out: Output) -> None:
        """Write what applies, and `documents/README.md`."""
        told: list[tuple[str, list[Document], str]] = [*_of_system(facts), *_of_organisation(facts)]
        rows = ["| Document | Files | Gaps for a person | Why |", "| --- | --- | --- | --- |"]
        for title, documents, why in told:
            for each in documents:
                out.write(f"{DIRECTORY}/{each.name}.md", "text/markdown", markdown(each))
                out.write(f"{DIRECTORY}/{each.name}.docx", DOCX, word(each, facts.checkpoint.time_ns))
                rows.append(f"| {escaped(title)} | [{each.name}.md]({each.name}.md) | {each.gaps} | {escaped(why)} |")
            if not documents:
                rows.append(f"| {escaped(title)} | none | | {escaped(why)} |")
        out.write(f"{DIRECTORY}/README.md", "text/markdown", f"{_README}{chr(10).join(rows)}\n".encode())


def _of_system(facts: Facts) -> Iterator[tuple[str, list[Document], str]]:
    if not facts.system:
        for kind in KINDS:
            yield kind.title, [], "it is of one AI system: ask for a package with --system"
        return
    view = View(facts, facts.system, facts.register_entry)
    for kind in KINDS:
        results = [each for each in map(view.result, kind.controls) if each is not None]
        applying = [each.control.id for each in results if each.status != "not-applicable"]
        if not results:
            yield kind.title, [], "the package was not asked for eu-ai-act"
        elif not applying:
            yield kind.title, [], results[0].reason or "it does not apply to this system"
        else:
            made = kind.make(view)
            documents = [made] if isinstance(made, Document) else list(made)
            why = f"{', '.join(applying)} applies" if documents else "no such incident is on record in the period"
            yield kind.title, documents, why


def _of_organisation(facts: Facts) -> Iterator[tuple[str, list[Document], str]]:
    asked = {each.framework for each in facts.evaluation.frameworks}
    matrix = "SOC 2 control matrix"
    if "soc2" in asked:
        yield matrix, [control_matrix(facts)], "soc2 was asked for"
    else:
        yield matrix, [], "the package was not asked for soc2"
    record = "Record of processing (GDPR, Article 30)"
    if "gdpr" in asked:
        yield record, [processing_record(facts)], "gdpr was asked for"
    else:
        yield record, [], "the package was not asked for gdpr"
    erasures = list(erasure_certificates(facts))
    yield "Erasure certificates", erasures, "one for each erasure of the period" if erasures else "nothing was erased"


DOCUMENTS = GeneratedDocuments()
