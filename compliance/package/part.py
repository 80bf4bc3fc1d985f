"""What every part of a package does: write its files from the facts."""

from typing import Protocol

from compliance.package.facts import Facts
from compliance.package.output import Output


class Part(Protocol):
    """A part of a package: the report, OSCAL, the documents.

    The same facts give the same bytes: a part reads no clock, draws no random number, and sorts what has no order.
    """

    def write(self, facts: Facts, out: Output) -> None:
        """Write the part's files.

        Raises:
            ComplianceError: it cannot be written from these facts.
        """
