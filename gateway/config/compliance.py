"""The compliance section of the configuration."""

from pathlib import Path

from pydantic import Field

from gateway.config.section import Section


class Daily(Section):
    """The evaluation of each day, by the gateway itself."""

    enabled: bool = Field(True, description="Evaluate each day once it is over; otherwise by govctl compliance record.")
    at: str = Field(
        "00:20",
        pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$",
        description="From when on the day before is evaluated: time of day (UTC), as in 02:30.",
    )
    frameworks: list[str] = Field([], description="Frameworks that it is evaluated against; none named: all.")


class Compliance(Section):
    """Evidence: what controls are measured against beyond what the policies say."""

    catalogue: list[Path] = Field([], description="Directories with control frameworks of the company's own (YAML).")
    attestations: Path | None = Field(
        None, description="Directory with what people state beside the log (YAML); none: nothing is stated."
    )
    incident_duties: Path | None = Field(
        None, description="Further classes of incident and duties to report, beside those that come along (YAML)."
    )
    daily: Daily = Daily()
    secret_max_age_days: int = Field(
        90, ge=1, le=3650, description="How old a credential of this configuration may become, days."
    )
