"""Makes new authorities: roots, signing authorities below our own root or an upstream one, and JWT keys."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from identity.authority.lifecycle import Slot
from identity.authority.settings import AuthoritySettings, UpstreamAuthority
from identity.authority.state import Root
from identity.bundle import TrustBundle
from identity.ca import key_id_of, make_intermediate, make_leaf, make_root, signing_request
from identity.errors import AuthorityError, KeyManagerError, SealError, SvidError
from identity.keys import KeyManager, PrivateKey
from identity.sealing import read_private
from identity.spiffe_id import TrustDomain
from identity.verification import verify_peer
from identity.x509_svid import subject_key_id


@dataclass(frozen=True, slots=True)
class Issuer:
    """What signs a signing authority.

    Attributes:
        certificate, key: the issuer's own.
        chain: certificates from the issuer up, without the root; empty if the issuer is the root.
        root: the root above it.
    """

    certificate: x509.Certificate
    key: PrivateKey
    chain: tuple[x509.Certificate, ...]
    root: Root


def new_root(
    domain: TrustDomain, keys: KeyManager, now: int, settings: AuthoritySettings, taken: frozenset[str]
) -> Root:
    """Make a root. The key of the first one is named `root`; `taken` has the ids of keys that may be elsewhere."""
    key_id = f"root-{secrets.token_hex(8)}" if "root" in taken | keys.ids() else "root"
    key = keys.generate(key_id, settings.root_key_type)
    root = make_root(domain, key, _at(now), timedelta(seconds=settings.root_lifetime))
    return Root(subject_key_id(root), _pem(root), key_id)


def own_issuer(root: Root, keys: KeyManager) -> Issuer:
    """Return a root of ours as an issuer.

    Raises:
        AuthorityError: its key is not at hand, or not its own.
    """
    if not root.key_id:
        raise AuthorityError(
            f"the root {root.root_id} is not ours; name its files as the upstream authority, or make a root of our own"
        )
    if root.key_id not in keys.ids():
        raise AuthorityError(
            f"the key of the root is not at hand; bring {root.key_id}.key.sealed back beside the others, or make "
            "another root with: govctl authority x509 prepare --new-root"
        )
    certificate, key = x509.load_pem_x509_certificate(root.certificate.encode()), keys.private_key(root.key_id)
    if key.public_key() != certificate.public_key():
        raise AuthorityError(f"the key {root.key_id} is not that of the root {root.root_id}; restore it from a backup")
    return Issuer(certificate, key, (), root)


def upstream_issuer(certificate_file: Path, key_file: Path) -> Issuer:
    """Read an upstream authority from its files.

    Raises:
        AuthorityError: a file cannot be used; the message names it.
    """
    try:
        certificates = x509.load_pem_x509_certificates(certificate_file.read_bytes())
        key = load_pem_private_key(read_private(key_file), None)
    except SealError as error:
        raise AuthorityError(str(error)) from error
    except OSError as error:
        raise AuthorityError(f"the upstream authority {certificate_file} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise AuthorityError(f"the upstream authority {certificate_file}, {key_file}: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise AuthorityError(f"{key_file} is neither an ECDSA nor an RSA key")
    if key.public_key() != certificates[0].public_key():
        raise AuthorityError(f"{key_file} is not the key of the first certificate in {certificate_file}")
    root = certificates[-1]
    if root.subject != root.issuer:
        raise AuthorityError(f"the last certificate in {certificate_file} is not a root; add those above it")
    return Issuer(certificates[0], key, tuple(certificates[:-1]), Root(subject_key_id(root), _pem(root)))


def new_signing_authority(
    domain: TrustDomain, issuer: Issuer, keys: KeyManager, now: int, settings: AuthoritySettings
) -> Slot:
    """Make a signing authority and try it: what it signs must verify against the bundle it will be verified with.

    Raises:
        AuthorityError: the issuer has expired or may not sign it.
        KeyManagerError, SealError: its key cannot be made.
    """
    key_id = f"x509-{secrets.token_hex(8)}"
    key = keys.generate(key_id, settings.signing_key_type)
    certificate = make_intermediate(
        domain,
        key.public_key(),
        issuer.certificate,
        issuer.key,
        _at(now),
        timedelta(seconds=settings.signing_lifetime),
        above=issuer.chain,
    )
    _try(domain, certificate, key, issuer.chain, issuer.root, now)
    return _prepared(certificate, issuer.chain, issuer.root, key_id, settings, now)


def signing_authority_from_above(
    domain: TrustDomain, upstream: UpstreamAuthority, keys: KeyManager, now: int, settings: AuthoritySettings
) -> tuple[Slot, Root]:
    """Make a signing authority, have it signed elsewhere and try it; return it with the root that it is below.

    Raises:
        AuthorityError: it is not signed, or what it signs would not verify.
        KeyManagerError, SealError: its key cannot be made.
    """
    key_id = f"x509-{secrets.token_hex(8)}"
    key = keys.generate(key_id, settings.signing_key_type)
    certificate, *above = upstream.sign(signing_request(domain, key), settings.signing_lifetime)
    if certificate.public_key() != key.public_key() or not above:
        raise AuthorityError(
            "the upstream authority signed something else than what it was asked to, or left out its root"
        )
    if above[-1].subject != above[-1].issuer:
        raise AuthorityError("the chain of the upstream authority does not end in a root")
    root, chain = Root(subject_key_id(above[-1]), _pem(above[-1])), tuple(above[:-1])
    _try(domain, certificate, key, chain, root, now)
    return _prepared(certificate, chain, root, key_id, settings, now), root


def _prepared(
    certificate: x509.Certificate,
    chain: Sequence[x509.Certificate],
    root: Root,
    key_id: str,
    settings: AuthoritySettings,
    now: int,
) -> Slot:
    return Slot(
        authority_id=subject_key_id(certificate),
        state="prepared",
        not_before=int(certificate.not_valid_before_utc.timestamp()),
        not_after=int(certificate.not_valid_after_utc.timestamp()),
        prepared_at=now,
        key_id=key_id,
        key_type=settings.signing_key_type,
        material="".join(_pem(each) for each in (certificate, *chain)),
        root_id=root.root_id,
    )


def new_jwt_key(keys: KeyManager, now: int, settings: AuthoritySettings) -> Slot:
    """Make a key for JWT-SVIDs.

    Raises:
        KeyManagerError, SealError: it cannot be made.
    """
    key_id = f"jwt-{secrets.token_hex(8)}"
    public = keys.generate(key_id, settings.jwt_key_type).public_key()
    return Slot(
        authority_id=key_id_of(public),
        state="prepared",
        not_before=now,
        not_after=now + settings.jwt_key_lifetime,
        prepared_at=now,
        key_id=key_id,
        key_type=settings.jwt_key_type,
        material=public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    )


def own_key(keys: KeyManager, slot: Slot, public_key: object) -> PrivateKey:
    """Return the private key of an authority.

    Raises:
        AuthorityError: it is not there, or not its own.
        SealError: it cannot be opened.
    """
    try:
        key = keys.private_key(slot.key_id)
    except KeyManagerError as error:
        raise AuthorityError(f"the active authority {slot.authority_id} cannot sign: {error}") from error
    if key.public_key() != public_key:
        raise AuthorityError(
            f"the key {slot.key_id} is not that of the active authority {slot.authority_id}; restore both from a backup"
        )
    return key


def _try(
    domain: TrustDomain,
    certificate: x509.Certificate,
    key: PrivateKey,
    above: Sequence[x509.Certificate],
    top: Root,
    now: int,
) -> None:
    probe = ec.generate_private_key(ec.SECP256R1()).public_key()
    leaf = make_leaf(domain.id("/probe"), probe, certificate, key, _at(now), certificate.not_valid_after_utc)
    chain = [each.public_bytes(Encoding.DER) for each in (leaf, certificate, *above)]
    root = x509.load_pem_x509_certificate(top.certificate.encode()).public_bytes(Encoding.DER)
    try:
        verify_peer(chain, {domain.name: TrustBundle(domain.name, (root,))}, now)
    except SvidError as error:
        raise AuthorityError(
            f"what a signing authority below {certificate.issuer.rfc4514_string()} signs does not verify: "
            f"{error}; its root must be in date and allow two signing authorities below it"
        ) from error


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
