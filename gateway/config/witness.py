"""The witness section of the configuration: who cosigns the checkpoints of the audit log."""

from pathlib import Path

from pydantic import Field

from gateway.config.section import Section


class Witnesses(Section):
    """Others who cosign each checkpoint, so that the log cannot be written anew or shown in two versions."""

    policy_file: Path | None = Field(
        None,
        description="Witness policy (C2SP tlog-policy: witness, group and quorum lines, with URLs); none: no witness.",
    )
    ca_file: Path | None = Field(None, description="CA certificates (PEM) of the witnesses; default: the system's.")
    timeout_seconds: float = Field(5.0, gt=0, le=60, description="Time a witness has to answer, seconds.")
    max_age_seconds: float = Field(
        300.0, gt=0, description="How long the quorum may be missing before the gateway is not ready, seconds."
    )
