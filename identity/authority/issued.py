"""What an authority hands out: SVIDs, events, and a view of itself."""

import ssl
from dataclasses import dataclass
from typing import Literal

from identity.authority.lifecycle import State
from identity.authority.state import Kind

Action = Literal["prepared", "activated", "tainted", "revoked", "expired", "failed"]


@dataclass(frozen=True, slots=True)
class IssuedSvid:
    """A new X.509-SVID.

    Attributes:
        chain: DER; leaf, then the signing certificates up to the root, without it.
        serial: serial number of the leaf (hex).
        not_after: UNIX seconds.
        authority_id: the signing authority.
    """

    chain: tuple[bytes, ...]
    serial: str
    not_after: int
    authority_id: str

    @property
    def chain_pem(self) -> bytes:
        """The chain as PEM."""
        return "".join(map(ssl.DER_cert_to_PEM_cert, self.chain)).encode()


@dataclass(frozen=True, slots=True)
class IssuedJwt:
    """A new JWT-SVID.

    Attributes:
        token: compact serialization.
        jti: its id.
        key_id: the JWT authority (`kid`).
        issued_at, expires_at: UNIX seconds.
    """

    token: str
    jti: str
    key_id: str
    issued_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class AuthorityEvent:
    """A step in the life of an authority.

    Attributes:
        kind: what the authority signs.
        action: what happened.
        authority_id: to which; empty if a preparation failed.
        detail: what a person should know, and the remedy if it failed.
    """

    kind: Kind
    action: Action
    authority_id: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AuthorityRecord:
    """One authority as it is shown. Times are UNIX seconds; `root_id` is empty for JWT keys."""

    kind: Kind
    authority_id: str
    state: State
    tainted: bool
    not_before: int
    not_after: int
    prepared_at: int
    key_type: str
    root_id: str


@dataclass(frozen=True, slots=True)
class AuthorityView:
    """All authorities of a trust domain, oldest first, and the bundle's sequence.

    Attributes:
        revoked: ids that are not trusted any more and have not expired.
        failures: why what is due cannot be done, and the remedy.
    """

    trust_domain: str
    sequence: int
    x509: tuple[AuthorityRecord, ...]
    jwt: tuple[AuthorityRecord, ...]
    revoked: tuple[str, ...]
    failures: tuple[str, ...]
