"""What is written into a package besides populations, samples and proofs; each part sees the same facts."""

from compliance.package.part import Part

PARTS: tuple[Part, ...] = ()
"""In the order in which they are written."""
