"""The embedded authority of a trust domain: a root, a signing intermediate, and the X.509-SVIDs they vouch for.

The root's key signs only intermediates. It lies in a file of its own (`root.key.sealed`), needed when a domain is
created and when its intermediate is renewed, and may be kept off the machine in between.

Lifetimes: root 10 years, long enough that replacing it is a planned event and short enough that its algorithm is not
trusted for ever; intermediate 1 year; SVID one hour by default and never past its intermediate. SPIRE's intermediates
live 24 hours because SPIRE always has its upstream authority at hand. Here that would keep the root's key on the
machine every day; instead the intermediate is renewed when the authority is opened in the last sixth of its life and
the root's key is there.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from identity.bundle import TrustBundle, load_bundle
from identity.ca import is_of, make_intermediate, make_leaf, make_root
from identity.clock import NANOSECONDS, Clock
from identity.errors import AuthorityError, BundleError
from identity.sealing import read_sealed, sync_directory, write_private, write_sealed
from identity.spiffe_id import SpiffeId, TrustDomain
from identity.x509_svid import KEY_TYPES, is_strong

ROOT_LIFETIME = timedelta(days=3652)
INTERMEDIATE_LIFETIME = timedelta(days=365)
DEFAULT_TTL_SECONDS = 3600
MAX_TTL_SECONDS = 86_400

_ROOT_KEY, _ROOT_CERTIFICATE = "root.key.sealed", "root.crt"
_SIGNING_KEY, _SIGNING_CERTIFICATE = "signing.key.sealed", "signing.crt"
_BUNDLE = "bundle.jwks"


def authority_dir(state_dir: Path) -> Path:
    """Return the directory of the authority's files."""
    return state_dir / "authority"


def bundle_path(state_dir: Path) -> Path:
    """Return the file of the trust domain's own bundle (JWKS)."""
    return authority_dir(state_dir) / _BUNDLE


def create_trust_domain(
    state_dir: Path,
    trust_domain: str,
    seal_key: bytes,
    clock: Clock,
    *,
    root_lifetime: timedelta = ROOT_LIFETIME,
    intermediate_lifetime: timedelta = INTERMEDIATE_LIFETIME,
) -> TrustBundle:
    """Make root and signing intermediate of a new trust domain, all or nothing, and return its bundle.

    Raises:
        AuthorityError: the directory has an authority already, or cannot be written.
        SealError: the sealing key is none, or a file cannot be written.
        SpiffeIdError: not a trust domain name.
    """
    domain, now = TrustDomain(trust_domain), _now(clock)
    directory = authority_dir(state_dir)
    unfinished = state_dir / f".authority.{secrets.token_hex(4)}"
    try:
        if directory.exists() and any(directory.iterdir()):
            raise AuthorityError(f"{directory} has an authority already; it is never overwritten")
        unfinished.mkdir(mode=0o700, parents=True)
        try:
            root_key = ec.generate_private_key(ec.SECP384R1())
            root = make_root(domain, root_key, now, root_lifetime)
            write_sealed(unfinished / _ROOT_KEY, seal_key, _key_der(root_key))
            write_private(unfinished / _ROOT_CERTIFICATE, root.public_bytes(Encoding.PEM), mode=0o644)
            _write_intermediate(unfinished, domain, seal_key, root, root_key, now, intermediate_lifetime)
            bundle = TrustBundle(domain.name, (root.public_bytes(Encoding.DER),), sequence=1)
            write_private(unfinished / _BUNDLE, bundle.to_jwks(), mode=0o644)
            unfinished.rename(directory)
            sync_directory(state_dir)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    except OSError as error:
        raise AuthorityError(f"no authority can be made in {directory}: {error.strerror}") from error
    return bundle


def renew(
    state_dir: Path,
    trust_domain: str,
    seal_key: bytes,
    clock: Clock,
    *,
    intermediate_lifetime: timedelta = INTERMEDIATE_LIFETIME,
) -> None:
    """Make a new signing intermediate with the root's key. SVIDs that the old one signed stay valid.

    Raises:
        AuthorityError: the root's key is not on this machine, or the root is of another domain or has expired.
        SealError: the sealing key is not the one it was made with.
    """
    with _locked(authority_dir(state_dir)) as directory:
        _renew(directory, TrustDomain(trust_domain), seal_key, _now(clock), intermediate_lifetime)


@dataclass(frozen=True, slots=True)
class IssuedSvid:
    """A new X.509-SVID.

    Attributes:
        chain_pem: leaf, then intermediate.
        serial: serial number of the leaf (hex).
        not_after: UNIX seconds.
    """

    chain_pem: bytes
    serial: str
    not_after: int


class Authority:
    """Signs X.509-SVIDs with the intermediate. Open it with `Authority.open`."""

    def __init__(
        self,
        directory: Path,
        domain: TrustDomain,
        certificate: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
        clock: Clock,
    ) -> None:
        self._directory = directory
        self._domain = domain
        self._certificate = certificate
        self._key = key
        self._clock = clock

    @classmethod
    def open(cls, state_dir: Path, trust_domain: str, seal_key: bytes, clock: Clock) -> "Authority":
        """Open the authority of a trust domain. The root's key is not needed, unless the intermediate is at its end.

        Raises:
            AuthorityError: there is none, it is of another domain, or its files do not fit.
            SealError: the sealing key is not the one it was made with.
        """
        domain = TrustDomain(trust_domain)
        with _locked(authority_dir(state_dir)) as directory:
            certificate, key = _signing_pair(directory, domain, seal_key)
            fits = key.public_key() == certificate.public_key()
            if (not fits or _is_due(certificate, _now(clock))) and (directory / _ROOT_KEY).exists():
                _renew(directory, domain, seal_key, _now(clock), INTERMEDIATE_LIFETIME)
                certificate, key = _signing_pair(directory, domain, seal_key)
            elif not fits:
                raise AuthorityError(
                    f"key and certificate of the signing authority in {directory} do not belong together; bring "
                    f"{_ROOT_KEY} back there, and a new pair is made when the authority is opened again"
                )
        return cls(directory, domain, certificate, key, clock)

    @property
    def not_after(self) -> int:
        """When the signing certificate expires (UNIX seconds)."""
        return int(self._certificate.not_valid_after_utc.timestamp())

    def bundle(self) -> TrustBundle:
        """Return the trust domain's bundle."""
        try:
            return load_bundle(self._domain.name, self._directory / _BUNDLE)
        except BundleError as error:
            raise AuthorityError(str(error)) from error

    def issue_x509_svid(
        self,
        spiffe_id: SpiffeId,
        public_key: CertificatePublicKeyTypes,
        ttl_seconds: int = DEFAULT_TTL_SECONDS,
        dns_names: tuple[str, ...] = (),
        ip_addresses: tuple[str, ...] = (),
    ) -> IssuedSvid:
        """Sign an X.509-SVID for `public_key`. It lives `ttl_seconds`, or as long as the signing certificate if less.

        Raises:
            AuthorityError: the ID is of another domain or has no path, the key is weak, the lifetime is out of
                bounds, a further name is none, or the signing certificate has expired.
        """
        if spiffe_id.trust_domain != self._domain or not spiffe_id.path:
            raise AuthorityError(f"{spiffe_id} is not a member of the trust domain {self._domain}")
        if not is_strong(public_key):
            raise AuthorityError(f"the public key of {spiffe_id} is of no accepted type; use one of: {KEY_TYPES}")
        if not 0 < ttl_seconds <= MAX_TTL_SECONDS:
            raise AuthorityError(f"an SVID lives 1 to {MAX_TTL_SECONDS} seconds, not {ttl_seconds}")
        now = _now(self._clock)
        not_after = min(now + timedelta(seconds=ttl_seconds), self._certificate.not_valid_after_utc)
        if not_after <= now:
            raise AuthorityError(
                f"the signing certificate has expired; bring {_ROOT_KEY} back to {self._directory} and restart the "
                "gateway, which renews it"
            )
        leaf = make_leaf(
            spiffe_id,
            public_key,
            self._certificate,
            self._key,
            now,
            not_after,
            dns_names=dns_names,
            ip_addresses=ip_addresses,
        )
        chain = leaf.public_bytes(Encoding.PEM) + self._certificate.public_bytes(Encoding.PEM)
        return IssuedSvid(chain, f"{leaf.serial_number:x}", int(not_after.timestamp()))


def write_svid(directory: Path, svid: IssuedSvid, key: ec.EllipticCurvePrivateKey, bundle: TrustBundle) -> None:
    """Write svid.pem, svid.key (mode 0600), bundle.pem and bundle.jwks, each whole or not at all.

    Raises:
        AuthorityError: the directory cannot be made.
        SealError: a file cannot be written.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise AuthorityError(f"{directory} cannot be made: {error.strerror}") from error
    write_private(directory / "svid.key", key_pem(key))
    write_private(directory / "svid.pem", svid.chain_pem, mode=0o644)
    write_private(directory / "bundle.pem", bundle.to_pem(), mode=0o644)
    write_private(directory / "bundle.jwks", bundle.to_jwks(), mode=0o644)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as PKCS #8 PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _renew(directory: Path, domain: TrustDomain, seal_key: bytes, now: datetime, lifetime: timedelta) -> None:
    if not (directory / _ROOT_KEY).exists():
        raise AuthorityError(f"the root's key is not at hand; bring {_ROOT_KEY} back to {directory} for the renewal")
    root, root_key = _pair(directory, _ROOT_CERTIFICATE, _ROOT_KEY, domain, seal_key)
    if root_key.public_key() != root.public_key():
        raise AuthorityError(f"{_ROOT_KEY} and {_ROOT_CERTIFICATE} in {directory} do not belong together")
    _write_intermediate(directory, domain, seal_key, root, root_key, now, lifetime)


def _write_intermediate(
    directory: Path,
    domain: TrustDomain,
    seal_key: bytes,
    root: x509.Certificate,
    root_key: ec.EllipticCurvePrivateKey,
    now: datetime,
    lifetime: timedelta,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = make_intermediate(domain, key.public_key(), root, root_key, now, lifetime)
    write_sealed(directory / _SIGNING_KEY, seal_key, _key_der(key))
    write_private(directory / _SIGNING_CERTIFICATE, certificate.public_bytes(Encoding.PEM), mode=0o644)


def _signing_pair(
    directory: Path, domain: TrustDomain, seal_key: bytes
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    return _pair(directory, _SIGNING_CERTIFICATE, _SIGNING_KEY, domain, seal_key)


def _pair(
    directory: Path, certificate_name: str, key_name: str, domain: TrustDomain, seal_key: bytes
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    path = directory / certificate_name
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        key = load_der_private_key(read_sealed(directory / key_name, seal_key), None)
    except FileNotFoundError:
        raise AuthorityError(f"{directory} has no {certificate_name}; restore it from a backup") from None
    except (OSError, ValueError) as error:
        raise AuthorityError(f"{path} or its key cannot be read: {error}; restore them from a backup") from error
    if not is_of(certificate, domain):
        raise AuthorityError(f"the authority in {directory} is not of the trust domain {domain}")
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise AuthorityError(f"{directory / key_name} is not an ECDSA key; restore it from a backup")
    return certificate, key


def _is_due(certificate: x509.Certificate, now: datetime) -> bool:
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return now >= certificate.not_valid_after_utc - life / 6


@contextmanager
def _locked(directory: Path) -> Iterator[Path]:
    """Keep other processes from reading a key and a certificate of different renewals."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise AuthorityError(f"{directory} has no authority; make one with: govctl init") from None
    except OSError as error:
        raise AuthorityError(f"{directory} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield directory
    finally:
        os.close(descriptor)


def _key_der(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _now(clock: Clock) -> datetime:
    return datetime.fromtimestamp(clock() // NANOSECONDS, UTC)
