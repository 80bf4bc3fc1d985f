"""What is written into a package besides populations, samples and proofs; each part sees the same facts."""

from compliance.documents import DOCUMENTS
from compliance.oscal import OSCAL
from compliance.package.part import Part
from compliance.report import REPORT

PARTS: tuple[Part, ...] = (REPORT, OSCAL, DOCUMENTS)
"""In the order in which they are written."""
