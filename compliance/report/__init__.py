"""What a person reads of a package: a page that needs no network and no script, and the same as a PDF."""

from compliance.package.facts import Facts
from compliance.package.output import Output
from compliance.report.page import render
from compliance.report.pdf import render_pdf

__all__ = ["REPORT", "Report"]


class Report:
    """The report of a package (`compliance.package.part.Part`)."""

    def write(self, facts: Facts, out: Output) -> None:
        """Write index.html and report.pdf."""
        out.write("index.html", "text/html", render(facts))
        out.write("report.pdf", "application/pdf", render_pdf(facts))


REPORT = Report()
