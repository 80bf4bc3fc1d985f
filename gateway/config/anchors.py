"""The anchors section of the configuration: time stamps and locked copies of the audit log's checkpoints."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from gateway.config.section import SecretReference, Section


class Timestamps(Section):
    """RFC 3161 time stamps of checkpoints."""

    url: str = Field("", description="Where an authority takes requests; empty: no time stamps.")
    roots_file: Path | None = Field(None, description="Root certificates (PEM) of the authority's signer.")
    ca_file: Path | None = Field(None, description="CA certificates (PEM) of its https server; default: the system's.")
    interval_seconds: float = Field(3600.0, ge=1, description="How often a new checkpoint is stamped, seconds.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.url and self.roots_file is None:
            raise ValueError("url needs roots_file, at which the signer's certificates end")
        return self


class LockedCopies(Section):
    """Copies of checkpoints and tiles in a bucket whose objects are locked (S3 object lock)."""

    endpoint: str = Field("", description="URL of the object store, without the bucket; empty: no copies.")
    bucket: str = Field("", description="Bucket, with object lock.")
    region: str = Field("us-east-1", description="Region of the bucket.")
    prefix: str = Field("", pattern=r"^([A-Za-z0-9._/-]+/)?$", description="Begins every key; ends with a slash.")
    access_key: SecretReference = Field("", description="Reference of the access key's id.")
    secret_key: SecretReference = Field("", description="Reference of the secret access key.")
    mode: Literal["COMPLIANCE", "GOVERNANCE"] = Field(
        "COMPLIANCE", description="COMPLIANCE: nobody can delete before the date; GOVERNANCE: who has the right can."
    )
    retention_days: int = Field(400, ge=1, le=36_500, description="How long each object is locked, days.")
    ca_file: Path | None = Field(None, description="CA certificates (PEM) of the store; default: the system's.")
    interval_seconds: float = Field(60.0, ge=1, description="How often what is new is copied, seconds.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.endpoint and not (self.bucket and self.access_key and self.secret_key):
            raise ValueError("endpoint needs bucket, access_key and secret_key")
        return self
