"""The whole of an authority as one document: its roots, its X.509 and JWT authorities, what was revoked.

Private keys are not in it; it names them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key
from pydantic import ConfigDict, TypeAdapter, ValidationError

from identity.authority.lifecycle import Slot, Slots, check
from identity.bundle import TrustBundle
from identity.errors import AuthorityError
from identity.keys import PublicKey

Kind = Literal["x509", "jwt"]
"""What an authority signs."""


@dataclass(frozen=True, slots=True)
class Root:
    """A root of the trust domain.

    Attributes:
        root_id: subject key id (hex).
        certificate: PEM.
        key_id: its private key in the key manager; empty if the root is not ours.
    """

    root_id: str
    certificate: str
    key_id: str = ""


@dataclass(frozen=True, slots=True)
class Revoked:
    """An authority that is not trusted any more, kept until it would have expired (UNIX seconds)."""

    kind: Kind
    authority_id: str
    not_after: int


@dataclass(frozen=True, slots=True)
class AuthorityState:
    """All authorities of a trust domain.

    Attributes:
        trust_domain: its name.
        roots: those that a signing authority here has above it.
        x509, jwt: the authorities of each kind, oldest first.
        revoked: see `Revoked`.
        sequence: that of the bundle; rises with each change of it.
        version: of this document.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    trust_domain: str
    roots: tuple[Root, ...] = ()
    x509: Slots = ()
    jwt: Slots = ()
    revoked: tuple[Revoked, ...] = ()
    sequence: int = 0
    version: Literal[1] = 1

    def slots(self, kind: Kind) -> Slots:
        """Return the authorities of one kind."""
        return self.x509 if kind == "x509" else self.jwt

    def with_slots(self, kind: Kind, slots: Slots) -> "AuthorityState":
        """Return the state with other authorities of one kind; nothing else is touched."""
        return replace(self, x509=slots) if kind == "x509" else replace(self, jwt=slots)

    def root(self, root_id: str) -> Root | None:
        """Return a root by its id."""
        return next((root for root in self.roots if root.root_id == root_id), None)

    def key_ids(self) -> frozenset[str]:
        """Return the ids of all private keys that are still of use."""
        holders: Iterable[Root | Slot] = (*self.roots, *self.x509, *self.jwt)
        return frozenset(holder.key_id for holder in holders if holder.key_id)

    def settled_after(self, before: "AuthorityState") -> "AuthorityState":
        """Return the state without roots that nothing needs, its sequence risen if the bundle is another one."""
        needed = {slot.root_id for slot in self.x509}
        settled = replace(self, roots=tuple(root for root in self.roots if root.root_id in needed))
        changed = settled.published() != before.published()
        return replace(settled, sequence=before.sequence + 1) if changed else settled

    def published(self) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
        """Return what the bundle is made of."""
        roots = tuple(root.certificate for root in self.roots)
        return roots, tuple((slot.authority_id, slot.material) for slot in self.jwt)

    def bundle(self, refresh_hint: int) -> TrustBundle:
        """Return the trust domain's bundle."""
        roots = (x509.load_pem_x509_certificate(root.certificate.encode()) for root in self.roots)
        return TrustBundle(
            self.trust_domain,
            tuple(root.public_bytes(Encoding.DER) for root in roots),
            self.sequence,
            refresh_hint,
            {slot.authority_id: _public_key(slot) for slot in self.jwt},
        )


_ADAPTER = TypeAdapter(AuthorityState)


def write_document(state: AuthorityState) -> bytes:
    """Return the state as JSON."""
    return _ADAPTER.dump_json(state, indent=2) + b"\n"


def read_document(data: bytes) -> AuthorityState:
    """Read the state from JSON.

    Raises:
        AuthorityError: not such a document, or it contradicts itself.
    """
    try:
        state = _ADAPTER.validate_json(data, strict=True)
        state.bundle(1)
        certificates = [x509.load_pem_x509_certificates(slot.material.encode()) for slot in state.x509]
    except (ValidationError, ValueError) as error:
        raise AuthorityError(f"not the document of an authority: {error}; restore it from a backup") from error
    check(state.x509)
    check(state.jwt)
    rootless = any(state.root(slot.root_id) is None for slot in state.x509)
    if rootless or not all(certificates):
        raise AuthorityError("a signing authority has no certificate or no root above it; restore it from a backup")
    return state


def _public_key(slot: Slot) -> PublicKey:
    key = load_pem_public_key(slot.material.encode())
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise AuthorityError(f"the JWT key {slot.authority_id} is neither ECDSA nor RSA; restore it from a backup")
    return key
