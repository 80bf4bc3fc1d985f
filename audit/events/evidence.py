"""Records of evidence: what was committed to, what was handed to auditors, and who was not given any."""

from typing import Literal

from pydantic import Field

from audit.events.access import PolicyInput
from audit.events.base import (
    Count,
    EventDefinition,
    Name,
    Nothing,
    PolicyName,
    Principal,
    Record,
    Sha256,
    Text,
    define,
)


class Asked(Record):
    """What evidence is asked of."""

    principal: Principal
    system: Text = Field(description="AI system; empty for the whole organisation.")
    since: Count = Field(description="Begin of the period, UNIX seconds.")
    until: Count = Field(description="End of the period, not included, UNIX seconds.")
    frameworks: list[Name]
    real_names: bool = Field(description="Whether names of people are asked for instead of pseudonyms.")


class EvidenceCommitted(Asked):
    """Written before samples are drawn: what they will be drawn from cannot be made to fit the seed any more."""

    type: Literal["evidence.committed"]
    commitment_sha256: Sha256 = Field(description="Of commitment.json, which names the root of each population.")
    tree_size: Count = Field(description="Records of the signed tree that the populations are made from.")
    tree_root: Sha256
    populations: Count
    rows: Count = Field(description="Rows of all populations.")


class EvidenceExported(Asked):
    """Written when a package of evidence was made."""

    type: Literal["evidence.exported"]
    package_sha256: Sha256 = Field(description="Of manifest.json, which names the SHA-256 of every file.")
    commitment_sha256: Sha256
    seed: Text = Field(description="What the auditor gave to draw samples with; empty where none were drawn.")
    records: Count = Field(description="Records of the signed tree that it is of.")
    unsafe_options: list[Name] = Field(description="Options named unsafe that were in use in the period.")


class EvidenceRefused(Asked):
    """Written when somebody asks for evidence who may not."""

    type: Literal["evidence.refused"]
    person: Name = Field(description="SPIFFE ID of the operator in the inventory; empty where there is none.")
    reasons: list[Name]
    policy: PolicyName
    policy_input: PolicyInput | Nothing


class _Control(Record):
    principal: Principal
    framework: Name
    control: Name
    system: Text = Field(description="AI system; empty for a control of the organisation.")
    day: Name = Field(description="The day that was evaluated, as in 2026-11-24 (UTC).")


class ControlFailed(_Control):
    """Written once when a control that is in force fails on a day and did not on the day evaluated before."""

    type: Literal["control.failed"]
    cause: Text


class ControlRecovered(_Control):
    """Written once when a control that had failed does not any more."""

    type: Literal["control.recovered"]


DEFINITIONS: tuple[EventDefinition, ...] = (
    define(EvidenceCommitted, "integrity"),
    define(EvidenceExported, "integrity", "low"),
    define(EvidenceRefused, "security", "medium"),
    define(ControlFailed, "integrity", "high"),
    define(ControlRecovered, "integrity", "low"),
)
