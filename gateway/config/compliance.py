"""The compliance section of the configuration."""

from pathlib import Path

from pydantic import Field

from gateway.config.section import Section


class Compliance(Section):
    """Evidence: what controls are measured against beyond what the policies say."""

    catalogue: list[Path] = Field([], description="Directories with control frameworks of the company's own (YAML).")
    attestations: Path | None = Field(
        None, description="Directory with what people state beside the log (YAML); none: nothing is stated."
    )
    incident_duties: Path | None = Field(
        None, description="Further classes of incident and duties to report, beside those that come along (YAML)."
    )
    secret_max_age_days: int = Field(
        90, ge=1, le=3650, description="How old a credential of this configuration may become, days."
    )
