"""The configuration's section `policy`: where revisions come from, what they must bring, and which engine decides."""

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from gateway.config.section import Name, SecretReference, Section


class SigningKey(Section):
    """A public key that signs revisions."""

    id: Name = Field(description="Key id, as in the bundle's signature.")
    file: Path = Field(description="The public key (PEM): EC P-256 to P-521, Ed25519, or RSA of 2048 bits and more.")


class S3Access(Section):
    """How an object store is asked, for s3:// sources."""

    endpoint: str = Field("", description="URL of the store; empty: Amazon's for the region.")
    region: str = Field("us-east-1", description="Region that requests are signed for.")
    access_key: SecretReference = Field("", description="Reference of the access key id.")
    secret_key: SecretReference = Field("", description="Reference of the secret access key.")


class BundleSource(Section):
    """Where revisions are pulled from."""

    url: str = Field(
        "",
        description="https://…, s3://bucket/key, or the path of a file; empty: revisions arrive only by "
        "'govctl policy activate' or the control plane.",
    )
    poll_seconds: float = Field(30.0, ge=1, description="How often the source is asked, seconds.")
    long_poll_seconds: int = Field(
        0,
        ge=0,
        le=600,
        description="How long the server may hold a request until there is news, seconds; 0: not at all.",
    )
    timeout_seconds: float = Field(20.0, gt=0, description="Time for one download, seconds.")
    ca_file: Path | None = Field(None, description="CA certificates (PEM) of the server; default: the system's.")
    server_id: str = Field(
        "",
        description="SPIFFE ID of a gateway to follow: it is verified by the trust bundles, and this gateway shows its "
        "own certificate.",
    )
    credential: SecretReference = Field("", description="Reference of a bearer credential for the server.")
    s3: S3Access = S3Access()

    @model_validator(mode="after")
    def _check(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme not in {"", "https", "s3", "file"}:
            raise ValueError(f"{self.url} is not https://…, s3://bucket/key or a path")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("url takes no user, password, query or fragment; give a credential by reference")
        if self.server_id and parts.scheme != "https":
            raise ValueError("server_id goes with an https:// url")
        if parts.scheme == "s3" and not (parts.netloc and parts.path.strip("/")):
            raise ValueError(f"{self.url} lacks the bucket or the key: s3://bucket/key")
        return self


class Requirements(Section):
    """What a revision must bring to be activated. The bundle's signature vouches for what its manifest says."""

    approvers: int = Field(0, ge=0, le=10, description="People other than the author who approved the change.")
    signed_commit: bool = Field(False, description="The commit's signature was verified by the pipeline.")
    checks: list[Name] = Field([], description="Checks that passed, for instance test and impact.")
    serial: bool = Field(False, description="A revision has a serial number: an older one is told from a newer.")

    @property
    def any(self) -> bool:
        """Whether anything is required."""
        return bool(self.approvers or self.signed_commit or self.checks or self.serial)


class OpaServer(Section):
    """An OPA server that decides."""

    address: str = Field(
        "", description="http://127.0.0.1:8181, https://…, or unix:///path/opa.sock; empty with an executable."
    )
    executable: Path | None = Field(
        None, description="OPA's program: the gateway runs one OPA per revision itself, on a socket in its state."
    )
    timeout_seconds: float = Field(0.25, gt=0, le=10, description="Time for one decision, seconds.")
    connections: int = Field(32, ge=1, le=1024, description="Connections kept open per worker.")
    ca_file: Path | None = Field(None, description="CA certificates (PEM) of an https:// address.")
    client_cert_file: Path | None = Field(None, description="Client certificate (PEM) shown to it.")
    client_key_file: Path | None = Field(None, description="Key (PEM) of the client certificate.")


class Policy(Section):
    """Where the policies come from, what a revision must bring, and how decisions are made and kept."""

    source: Literal["directory", "bundle"] = Field(
        "directory",
        description="directory: the files in `directory`, taken at start and at each reload. bundle: revisions that "
        "are activated one by one, pushed or pulled, signed, with a way back.",
    )
    directory: Path = Field(Path("policies"), description="Directory of Rego files and data.yaml files.")
    bundle: BundleSource = BundleSource()
    keys: list[SigningKey] = Field(
        [], description="Keys that sign revisions, for source: bundle; one of them must have."
    )
    unsafe_unsigned: bool = Field(False, description="Take bundles without a signature. Recorded in the audit log.")
    require: Requirements = Requirements()
    engine: Literal["embedded", "opa"] = Field(
        "embedded", description="Who evaluates Rego: the engine in the process, or an OPA server."
    )
    opa: OpaServer = OpaServer()
    cache_entries: int = Field(10_000, ge=0, description="Decisions kept per worker; 0 switches the cache off.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        ids = [key.id for key in self.keys]
        if len(set(ids)) != len(ids):
            raise ValueError("two of keys have the same id")
        if self.source == "bundle":
            if bool(self.keys) == self.unsafe_unsigned:
                raise ValueError("source bundle needs keys that sign the revisions, or unsafe_unsigned: true, not both")
        elif self.keys or self.unsafe_unsigned or self.bundle.url or self.require.any:
            raise ValueError("keys, unsafe_unsigned, bundle.url and require go with source: bundle")
        if self.require.any and not self.keys:
            raise ValueError("require means something only where signatures are verified: give keys")
        if self.engine == "opa" and bool(self.opa.address) == (self.opa.executable is not None):
            raise ValueError("engine opa needs opa.address or opa.executable, one of them")
        if (self.opa.client_cert_file is None) != (self.opa.client_key_file is None):
            raise ValueError("opa.client_cert_file and opa.client_key_file go together")
        return self
