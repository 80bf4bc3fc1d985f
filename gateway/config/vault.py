"""The section on HashiCorp Vault or OpenBao: where it is, how the gateway logs in, what its mounts hold."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from gateway.config.section import Name, SecretReference, Section

_ADDRESS = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+")


def _address(value: str) -> str:
    value = value.rstrip("/")
    if not _ADDRESS.fullmatch(value) or not urlsplit(value).hostname:
        raise ValueError("an address of Vault is https://host:port, without path, user or query")
    return value


Address = Annotated[str, AfterValidator(_address)]

Engine = Literal["kv-v2", "kv-v1", "dynamic", "pki"]
"""What a mount holds: values that people put in (with versions, or without), or what is made at each request."""


class VaultLogin(Section):
    """How the gateway proves to Vault who it is."""

    method: Literal["jwt", "cert", "approle", "kubernetes", "token"] = Field(
        "jwt",
        description="jwt: a JWT-SVID of the gateway; cert: its X.509-SVID; approle; kubernetes: the pod's token; "
        "token: a token that somebody made, for development.",
    )
    mount: str = Field(
        "", pattern=r"^([A-Za-z0-9][A-Za-z0-9._/-]*)?$", description="Path of the method; default: its name."
    )
    role: str = Field("", description="Role of the method: jwt, cert (optional) and kubernetes.")
    audience: str = Field("vault", min_length=1, description="Audience of the JWT-SVID; the role's bound_audiences.")
    role_id: SecretReference = Field("", description="Reference of the AppRole's role id.")
    secret_id: SecretReference = Field("", description="Reference of the AppRole's secret id.")
    token_file: Path = Field(
        Path("/var/run/secrets/kubernetes.io/serviceaccount/token"), description="The pod's token, for kubernetes."
    )
    token: SecretReference = Field("", description="Reference of the token, for token.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        needed: dict[str, tuple[str, ...]] = {
            "jwt": ("role",),
            "kubernetes": ("role",),
            "approle": ("role_id", "secret_id"),
            "token": ("token",),
        }
        missing = [name for name in needed.get(self.method, ()) if not getattr(self, name)]
        if missing:
            raise ValueError(f"the method {self.method} needs {' and '.join(missing)}")
        if any(value.startswith(("vault:", "exchange:")) for value in (self.role_id, self.secret_id, self.token)):
            raise ValueError("what opens Vault cannot be in it: use file:, env: or sealed://")
        return self

    @property
    def path(self) -> str:
        """Path of the method below auth/."""
        return self.mount.strip("/") or self.method


class VaultMount(Section):
    """A secrets engine that references name by its path."""

    path: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*[A-Za-z0-9]$|^[A-Za-z0-9]$", description="Where it is mounted."
    )
    engine: Engine = Field(
        "kv-v2",
        description="kv-v2 and kv-v1: values that people put in. dynamic: credentials made for each lease (databases, "
        "clouds). pki: certificates made with each request.",
    )


class VaultKeys(Section):
    """Private keys that Vault's Transit engine keeps, in place of sealed files."""

    mount: str = Field("transit", pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", description="Where the engine is mounted.")
    prefix: str = Field(
        "govgateway", pattern=r"^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$", description="Begins the names of the keys there."
    )
    authority: bool = Field(False, description="The keys of the trust domain: its authorities and JWT-SVIDs.")
    checkpoints: bool = Field(False, description="The key that signs the audit log's checkpoints.")
    evidence: bool = Field(False, description="The key that signs packages of evidence.")
    sealed_content: bool = Field(False, description="The key that wraps the data keys of sealed content.")
    cached_keys: int = Field(1000, ge=0, description="sealed_content: most data keys kept unwrapped in memory.")
    cached_uses: int = Field(1000, ge=1, description="sealed_content: how often one is used from there.")
    cached_seconds: float = Field(300.0, ge=0, description="sealed_content: how long one is kept there, seconds.")

    @property
    def used(self) -> bool:
        """Whether any key is there."""
        return self.authority or self.checkpoints or self.evidence or self.sealed_content


class Vault(Section):
    """HashiCorp Vault or OpenBao, whose secrets are referred to as vault://MOUNT/PATH#FIELD."""

    addresses: list[Address] = Field([], description="Addresses, tried in turn: https://vault.example.org:8200.")
    namespace: str = Field("", description="Namespace of everything that is asked for.")
    ca_file: Path | None = Field(None, description="CA certificates (PEM) of Vault; default: the system's.")
    login: VaultLogin | None = Field(None, description="How the gateway logs in.")
    mounts: list[VaultMount] = Field(
        [VaultMount(path="secret", engine="kv-v2")], description="The secrets engines that references name."
    )
    timeout_seconds: float = Field(5.0, gt=0, le=60, description="Longest time for one answer, seconds.")
    refresh_seconds: float = Field(
        30.0, ge=1, description="How often a value without a lease is looked at again, seconds."
    )
    stale_seconds: float = Field(
        3600.0,
        ge=0,
        description="While Vault is away: how long after it was last confirmed a value may still be used, seconds. A "
        "lease that ends earlier ends earlier.",
    )
    keys: VaultKeys = VaultKeys()
    unsafe_plaintext: bool = Field(
        False, description="Allow http:// to an address that is not loopback. Recorded in the audit log."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.keys.used and not self.addresses:
            raise ValueError("keys needs addresses")
        if self.keys.used and self.login is not None and self.login.method in {"jwt", "cert"}:
            raise ValueError(
                "keys are needed before the gateway has an identity: log in by approle, kubernetes or token"
            )
        if self.addresses and self.login is None:
            raise ValueError("addresses need login: how does the gateway prove who it is?")
        for address in self.addresses:
            parts = urlsplit(address)
            host = parts.hostname or ""
            loopback = host in {"localhost", "::1"} or host.startswith("127.")
            if parts.scheme == "http" and not loopback and not self.unsafe_plaintext:
                raise ValueError(
                    f"{address} is plain HTTP to another machine: use https, or set unsafe_plaintext: true"
                )
            if parts.scheme == "http" and self.login is not None and self.login.method == "cert":
                raise ValueError(f"{address}: the method cert needs https")
        paths = [mount.path for mount in self.mounts]
        twice = sorted({path for path in paths if paths.count(path) > 1})
        if twice:
            raise ValueError(f"mount {', '.join(twice)} is named twice")
        return self


class Exchange(Section):
    """Where a JWT-SVID of the gateway is exchanged for a credential, referred to as exchange://NAME."""

    name: Name = Field(description="Name, unique in this file.")
    kind: Literal["aws-sts", "entra", "google"] = Field(
        description="aws-sts: AssumeRoleWithWebIdentity. entra: a client assertion of a federated credential. google: "
        "workload identity federation.",
    )
    url: str = Field("", description="Address of the exchange; default: the provider's own.")
    ca_file: Path | None = Field(None, description="CA certificates (PEM) of that address; default: the system's.")
    audience: str = Field("", description="Audience of the JWT-SVID; default: what the provider expects.")
    region: str = Field("", description="aws-sts: region of the endpoint.")
    role_arn: str = Field("", description="aws-sts: the role.")
    duration_seconds: int = Field(3600, ge=900, le=43_200, description="aws-sts: how long the credentials are good.")
    tenant: str = Field("", description="entra: the tenant's id.")
    client_id: str = Field("", description="entra: the application's id.")
    scope: str = Field("", description="entra and google: the scope asked for.")
    service_account: str = Field("", description="google: e-mail of the service account to act as; empty for none.")
    impersonation_url: str = Field("", description="google: address of the impersonation; default: Google's own.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        needed: dict[str, tuple[str, ...]] = {
            "aws-sts": ("role_arn", "region"),
            "entra": ("tenant", "client_id", "scope"),
            "google": ("audience", "scope"),
        }
        missing = [name for name in needed[self.kind] if not getattr(self, name)]
        if missing:
            raise ValueError(f"{self.kind} needs {' and '.join(missing)}")
        return self
