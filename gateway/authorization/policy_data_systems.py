"""The tables of AI systems and models, and of the classes of data they process."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.authorization.decision_form import MAX_APPROVAL_SECONDS, MAX_WAIT_SECONDS
from gateway.authorization.policy_data_base import Amount, Entry, Name, Region, Said, Text
from gateway.authorization.policy_data_roles import Action


class ApprovalTerms(Entry):
    """On which terms calls are approved."""

    valid_seconds: int = Field(
        3600, ge=1, le=MAX_APPROVAL_SECONDS, strict=True, description="How long a request can be approved and used."
    )
    wait_seconds: int = Field(
        0, ge=0, le=MAX_WAIT_SECONDS, strict=True, description="How long a call waits before it is refused."
    )
    four_eyes: bool = Field(False, strict=True, description="Whether two people have to approve.")


class Oversight(BaseModel):
    """Who oversees a system, and what a person has to approve."""

    model_config = ConfigDict(extra="allow", frozen=True)
    overseers: list[Text] = []
    approval: list[Action] = Field(
        [], description="Actions of which a person approves every call (the obligation require_approval)."
    )
    approval_terms: ApprovalTerms = ApprovalTerms()


class RiskException(Entry):
    """Why a system of an area of Annex III poses no significant risk, and who assessed that."""

    article: Literal["6(3)"]
    reason: Said
    assessed_by: Said


class RegisteredSystem(BaseModel):
    """An AI system of the register. Keys beyond these are attributes for rules and reports."""

    model_config = ConfigDict(extra="allow", frozen=True)
    risk: Literal["minimal", "limited", "high", "prohibited"]
    data_classes: list[Text] = []
    regions: list[Region] | None = Field(None, min_length=1)
    oversight: Oversight = Oversight()
    max_output_tokens: Amount | None = None
    practices: list[Name] = Field([], description="Prohibited practices of the table ai_act that the system is.")
    annex_iii: Name | None = Field(None, description="Area of Annex III, of the table ai_act, that the system is in.")
    exception: RiskException | None = Field(None, description="Why the area does not make the system high-risk.")
    profiling: bool = Field(False, strict=True, description="Whether the system profiles people.")
    instructions_for_use: Said | None = Field(None, description="Reference of the provider's instructions for use.")
    deployer: Literal["public", "private"] | None = Field(
        None, description="public: a body governed by public law, or a private one that provides public services."
    )
    fria: Said | None = Field(None, description="Reference of the fundamental rights impact assessment.")
    seal_content: bool = Field(
        False,
        strict=True,
        description="Whether prompts and answers are kept, sealed (the obligation log_content_sealed).",
    )
    transparency: bool | None = Field(
        None,
        strict=True,
        description="Whether Article 50 concerns the system; answers are then marked (obligation watermark_notice).",
    )


class DataClass(Entry):
    """A class of data, and the regions it is bound to."""

    regions: list[Region] | None = Field(None, min_length=1)


class Regions(Entry):
    """The table of data classes."""

    data_classes: dict[str, DataClass] = Field({})


class ModelBounds(Entry):
    """What a model may be used for. A key that is left out does not bound it."""

    description: str = ""
    data_classes: list[Text] | None = Field(None, description="Classes of data the model may be given.")
    regions: list[Region] | None = Field(None, min_length=1)
    systems: list[Name] | None = Field(None, min_length=1, description="AI systems the model may serve.")
