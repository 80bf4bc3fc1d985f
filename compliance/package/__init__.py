"""The package that an auditor holds: populations, samples, proofs and documents, under a signed manifest."""

from compliance.package.facts import (
    CheckpointFacts,
    Commitment,
    Data,
    Facts,
    Ipe,
    KeyFacts,
    Reconciled,
    Sample,
    SpoiltCopy,
)
from compliance.package.output import Output
from compliance.package.part import Part

__all__ = [
    "CheckpointFacts",
    "Commitment",
    "Data",
    "Facts",
    "Ipe",
    "KeyFacts",
    "Output",
    "Part",
    "Reconciled",
    "Sample",
    "SpoiltCopy",
]
