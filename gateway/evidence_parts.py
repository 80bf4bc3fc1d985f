"""What is written into a package besides populations, samples and proofs; each part sees the same facts."""

from compliance.package.part import Part
from compliance.report import REPORT

PARTS: tuple[Part, ...] = (REPORT,)
"""In the order in which they are written."""
