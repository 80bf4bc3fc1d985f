"""Records of identities proven: what was issued, handed over, revoked, and which other domains are trusted."""

from typing import Literal

from pydantic import Field

from audit.events.base import (
    Count,
    EventDefinition,
    Id,
    Integer,
    Name,
    Peer,
    Principal,
    Record,
    Sha256,
    Text,
    absent,
    define,
)

RevocationKind = Literal["id", "entry", "serial", "authority", "node"]


class TrustDomainCreated(Record):
    """Written when a trust domain is set up: its root, its first authorities."""

    type: Literal["trust_domain.created"]
    principal: Principal
    trust_domain: Name
    authorities: Count = Field(description="Authorities in the first bundle.")


class IdentityIssued(Record):
    """Written before an SVID is handed out."""

    type: Literal["identity.issued"]
    principal: Id = Field(description="Who issued it: the gateway, or the operator of govctl.")
    agent: Id = Field(description="Whose identity it is.")
    svid: Literal["x509-svid", "jwt-svid"]
    serial: Name = Field(description="Serial number of the certificate (hexadecimal), or `jti` of the token.")
    not_after: Count
    authority: Name = Field(description="Which authority signed it: subject key id, or key id.")
    entry: Name = absent("The registration entry that grants it.")
    parent: Id = absent("The node that it is issued to or through.")
    audience: list[Name] = absent()
    selectors: list[Text] = absent("What was attested.")
    renewed: Name = absent("Serial number of the certificate that it follows.")


class IdentityDelegated(Record):
    """Written before a token is handed out that lets one identity act for others."""

    type: Literal["identity.delegated"]
    principal: Principal
    delegation: list[Id] = Field(description="The chain in the token, the first for whom is acted first.")
    may_act: str = Field(description="Who may take the token up; empty for one that is used.")
    jti: Name
    from_jti: Name = Field(description="`jti` of the token that was exchanged.")
    not_after: Count
    peer: Peer


class IdentityRevoked(Record):
    """Written when something is refused from now on although it is in date."""

    type: Literal["identity.revoked"]
    principal: Principal
    kind: RevocationKind
    subject: Id
    cause: Text


class IdentityRevocationLifted(Record):
    """Written when a revocation is ended."""

    type: Literal["identity.revocation_lifted"]
    principal: Principal
    kind: RevocationKind
    subject: Id
    cause: Text


class IdentityApplied(Record):
    """Written when a file of identities and entries was applied as a whole."""

    type: Literal["identity.applied"]
    principal: Principal
    file_sha256: Sha256
    prune: bool
    create: Count
    update: Count
    delete: Count
    changes: list[Text]
    changes_left_out: Count = Field(description="Changes that are not listed; the digest of the file stands for them.")


class JoinTokenCreated(Record):
    """Written when a token is made with which one node joins once. The token is not in it."""

    type: Literal["join_token.created"]
    principal: Principal
    node: Id
    expires_at: Count


class FederationChanged(Record):
    """Written when the bundle of another trust domain, or one that SPIRE gives, changed or was withdrawn."""

    type: Literal["federation.changed"]
    principal: Principal
    trust_domain: Name
    withdrawn: bool
    sequence: Integer = Field(description="Sequence number of the bundle; -1 where it was withdrawn.")


DEFINITIONS: tuple[EventDefinition, ...] = (
    define(TrustDomainCreated, "security", "medium"),
    define(IdentityIssued, "identity"),
    define(IdentityDelegated, "identity"),
    define(IdentityRevoked, "security", "high"),
    define(IdentityRevocationLifted, "security", "medium"),
    define(IdentityApplied, "change"),
    define(JoinTokenCreated, "identity", "low"),
    define(FederationChanged, "security", "medium"),
)
