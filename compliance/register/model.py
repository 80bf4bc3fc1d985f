"""The form of an entry of the register: what AI Act and GDPR want to know of a system, beyond what rules read."""

import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

Said = Annotated[str, StringConstraints(min_length=1, max_length=10_000, strip_whitespace=True)]
Reference = Annotated[str, StringConstraints(min_length=1, max_length=1000, strip_whitespace=True)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]

Role = Literal["provider", "deployer", "importer", "distributor", "product-manufacturer", "gpai-provider"]


def _day(value: str) -> str:
    try:
        if datetime.date.fromisoformat(value).isoformat() == value:
            return value
    except ValueError:
        pass
    raise ValueError(f"{value!r} is not a day; write it as '2026-11-23', in quotes")


Day = Annotated[str, AfterValidator(_day)]


class Part(BaseModel):
    """A part of an entry. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Document(Part):
    """A document that somebody keeps.

    Attributes:
        reference: where it is.
        sha256: digest of the version that is meant.
    """

    reference: Reference
    sha256: Sha256 | None = None


class Screening(Part):
    """That the system was held against the prohibited practices of Article 5."""

    date: Day
    by: Said
    reference: Reference | None = None


class ModelVersion(Part):
    """A model that the system uses. The key of the table is the name that callers write.

    Attributes:
        digest: of the weights.
        annex_xii: documentation of a general-purpose model (AI Act, Article 53 and Annex XII).
    """

    version: Said
    provider: Said
    digest: Sha256 | None = None
    annex_xii: Reference | None = None


class DataSet(Part):
    """Data that the system was made with or uses.

    Attributes:
        origin: where it comes from, and on what right.
        special_categories: whether it holds data of GDPR Article 9.
    """

    name: Said
    use: Literal["training", "validation", "testing", "retrieval"]
    origin: Said
    special_categories: bool
    reference: Reference | None = None


class Training(Part):
    """The training that makes somebody fit to oversee (AI Act, Articles 4 and 26(2))."""

    person: Said = Field(description="The overseer, as in oversight.overseers.")
    reference: Reference
    date: Day
    valid_until: Day


class Oversight(BaseModel):
    """How people oversee the system (AI Act, Article 14). Further keys are for rules."""

    model_config = ConfigDict(extra="allow", frozen=True)
    overseers: list[Said] = []
    measures: list[Said] = []
    training: list[Training] = []


class Recipient(Part):
    """Who gets what is sent to the system (GDPR, Article 30(1)(d)).

    Attributes:
        backend: name of the backend in the configuration; empty where it is none.
        country: ISO 3166-1 alpha-2.
        transfer_basis: for a country outside the Union (GDPR, Articles 44 to 49).
    """

    name: Said
    backend: str = ""
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
    transfer_basis: Said | None = None


class RiskException(Part):
    """Why a system of an area of Annex III poses no significant risk."""

    article: Literal["6(3)"]
    reason: Said
    assessed_by: Said


class Contact(Part):
    """Who is responsible."""

    name: Said
    address: Said
    email: Said | None = None


class AiSystem(BaseModel):
    """An AI system of the register. Keys beyond these are attributes for rules and reports.

    Attributes:
        purposes: actions of the policies that the intended purpose covers, such as `model.infer`; empty: any.
        models: by the name that callers write.
        log_retention_days: how long its logs are kept, where that is longer than the law asks.
        expected_calls_per_day: the frequency that the impact assessment names (Article 27(1)(b)).
        in_service_since: the day that it was put into service.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    risk: Literal["minimal", "limited", "high", "prohibited"]
    name: Said | None = None
    description: str = ""
    owner: str = ""
    roles: list[Role] = Field([], description="What the company is to this system (AI Act, Article 3).")
    intended_purpose: Said | None = None
    purposes: list[Said] = []
    risk_reason: Said | None = None
    annex_iii: str | None = None
    annex_i: bool = False
    exception: RiskException | None = None
    practices: list[str] = []
    screening: Screening | None = None
    transparency: bool | None = None
    profiling: bool = False
    deployer: Literal["public", "private"] | None = None
    models: dict[str, ModelVersion] = {}
    data_sets: list[DataSet] = []
    data_classes: list[str] = []
    regions: list[str] | None = None
    affected_groups: list[Said] = []
    personal_data: bool | None = None
    lawful_basis: Said | None = None
    controller: Contact | None = None
    data_protection_officer: Contact | None = None
    provider: Contact | None = None
    recipients: list[Recipient] = []
    oversight: Oversight = Oversight()
    instructions_for_use: Reference | None = None
    instructions_sha256: Sha256 | None = None
    risk_file: Document | None = None
    dpia: Document | None = None
    fria: Reference | None = None
    conformity_assessment: Document | None = None
    registration: Said | None = None
    monitoring_plan: Document | None = None
    in_service_since: Day | None = None
    expected_calls_per_day: int | None = Field(None, ge=0)
    log_retention_days: int | None = Field(None, ge=1)

    @property
    def effective_risk(self) -> str:
        """The risk class that counts: an area of Annex III without an exception is high, a practice prohibited."""
        if self.practices:
            return "prohibited"
        if self.annex_iii is not None and self.exception is None and self.risk in ("minimal", "limited"):
            return "high"
        return self.risk

    @property
    def processes_personal_data(self) -> bool:
        """Whether personal data is declared, by itself or as a class of data."""
        return self.personal_data if self.personal_data is not None else "personal" in self.data_classes
