"""Records of evidence: what was handed to auditors."""

from typing import Literal

from pydantic import Field

from audit.events.base import Count, EventDefinition, Name, Principal, Record, Sha256, define


class EvidenceExported(Record):
    """Written when a package of evidence was made."""

    type: Literal["evidence.exported"]
    principal: Principal
    package_sha256: Sha256
    since: Count = Field(description="Begin of the period, UNIX seconds.")
    until: Count = Field(description="End of the period, UNIX seconds.")
    frameworks: list[Name]
    records: Count
    unsafe_options: list[Name] = Field(description="Options named unsafe that were in use in the period.")


DEFINITIONS: tuple[EventDefinition, ...] = (define(EvidenceExported, "integrity", "low", written=False),)
