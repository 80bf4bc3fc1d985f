"""The embedded authority of a trust domain: a root, a signing intermediate, and the X.509-SVIDs they vouch for.

The root's key signs only intermediates. It lies in a file of its own (`root.key.sealed`), needed when a domain is
created and when its intermediate is renewed, and may be kept off the machine in between.

Lifetimes: root 10 years, intermediate 1 year, SVID one hour by default and never past its intermediate. SPIRE's
intermediates live 24 hours because SPIRE rotates them by itself; this authority renews its intermediate when asked
(`renew`), so the shorter lifetime would only stop the gateway at night.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from identity.bundle import TrustBundle, load_bundle
from identity.clock import NANOSECONDS, Clock
from identity.errors import AuthorityError, BundleError, SealError
from identity.sealing import read_sealed, write_private, write_sealed
from identity.spiffe_id import SpiffeId, TrustDomain

ROOT_LIFETIME = timedelta(days=3652)
INTERMEDIATE_LIFETIME = timedelta(days=365)
DEFAULT_TTL_SECONDS = 3600
MAX_TTL_SECONDS = 86_400
BACKDATE = timedelta(seconds=10)
"""NotBefore lies this far in the past, for clocks that are a little behind (as in SPIRE)."""

_ROOT_KEY, _ROOT_CERTIFICATE = "root.key.sealed", "root.crt"
_SIGNING_KEY, _SIGNING_CERTIFICATE = "signing.key.sealed", "signing.crt"
_BUNDLE = "bundle.jwks"


def authority_dir(state_dir: Path) -> Path:
    """Return the directory of the authority's files."""
    return state_dir / "authority"


def bundle_path(state_dir: Path) -> Path:
    """Return the file of the trust domain's own bundle (JWKS)."""
    return authority_dir(state_dir) / _BUNDLE


def create_trust_domain(state_dir: Path, trust_domain: str, seal_key: bytes, clock: Clock) -> TrustBundle:
    """Make root and signing intermediate of a new trust domain and return its bundle.

    Raises:
        AuthorityError: the directory has an authority already.
    """
    domain = TrustDomain(trust_domain)
    directory = authority_dir(state_dir)
    if directory.exists() and any(directory.iterdir()):
        raise AuthorityError(f"{directory} has an authority already; it is never overwritten")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    now = _now(clock)
    root_key = ec.generate_private_key(ec.SECP384R1())
    root = _certificate_authority(domain, "root", root_key.public_key(), now, ROOT_LIFETIME, path_length=1)
    root_certificate = root.issuer_name(_name(domain, "root")).sign(root_key, hashes.SHA384())
    write_sealed(directory / _ROOT_KEY, seal_key, _key_bytes(root_key))
    write_private(directory / _ROOT_CERTIFICATE, root_certificate.public_bytes(Encoding.PEM), mode=0o644)
    _issue_intermediate(directory, domain, seal_key, root_certificate, root_key, now)
    bundle = TrustBundle(domain.name, (root_certificate.public_bytes(Encoding.DER),), sequence=1)
    write_private(directory / _BUNDLE, bundle.to_jwks(), mode=0o644)
    return bundle


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
        """Open the authority of a trust domain. The root's key is not needed.

        Raises:
            AuthorityError: there is none, or it is of another domain.
            SealError: the sealing key is not the one it was made with.
        """
        directory = authority_dir(state_dir)
        try:
            certificate = x509.load_pem_x509_certificate((directory / _SIGNING_CERTIFICATE).read_bytes())
        except FileNotFoundError:
            raise AuthorityError(f"{directory} has no authority; make one with: govctl init") from None
        except (OSError, ValueError) as error:
            raise AuthorityError(f"{directory / _SIGNING_CERTIFICATE} cannot be read: {error}") from error
        key = load_der_private_key(read_sealed(directory / _SIGNING_KEY, seal_key), None)
        domain = TrustDomain(trust_domain)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if names.get_values_for_type(x509.UniformResourceIdentifier) != [str(domain.id())]:
            raise AuthorityError(f"the authority in {directory} is not of the trust domain {domain}")
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise AuthorityError(f"key and certificate of the signing authority in {directory} do not belong together")
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
        """Sign an X.509-SVID for `public_key`.

        Raises:
            AuthorityError: the ID is of another domain or has no path, the lifetime is out of bounds, or the
                signing certificate has expired.
        """
        if spiffe_id.trust_domain != self._domain or not spiffe_id.path:
            raise AuthorityError(f"{spiffe_id} is not a member of the trust domain {self._domain}")
        if not 0 < ttl_seconds <= MAX_TTL_SECONDS:
            raise AuthorityError(f"an SVID lives 1 to {MAX_TTL_SECONDS} seconds, not {ttl_seconds}")
        now = _now(self._clock)
        not_after = min(now + timedelta(seconds=ttl_seconds), self._certificate.not_valid_after_utc)
        if not_after <= now:
            raise AuthorityError(
                "the signing certificate has expired; renew it with the root's key: govctl authority renew"
            )
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(spiffe_id))]
        names += [x509.DNSName(name) for name in dns_names]
        names += [x509.IPAddress(ip_address(address)) for address in ip_addresses]
        leaf = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "govgateway")]))
            .issuer_name(self._certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(not_after)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(_authority_key(self._certificate), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        chain = leaf.public_bytes(Encoding.PEM) + self._certificate.public_bytes(Encoding.PEM)
        return IssuedSvid(chain, f"{leaf.serial_number:x}", int(not_after.timestamp()))


def renew(state_dir: Path, trust_domain: str, seal_key: bytes, clock: Clock) -> None:
    """Make a new signing intermediate with the root's key.

    Raises:
        AuthorityError: the root's key or certificate is not on this machine.
    """
    directory = authority_dir(state_dir)
    try:
        root_key = load_der_private_key(read_sealed(directory / _ROOT_KEY, seal_key), None)
        root = x509.load_pem_x509_certificate((directory / _ROOT_CERTIFICATE).read_bytes())
    except (SealError, OSError) as error:
        raise AuthorityError(f"the root is not at hand ({error}); bring {_ROOT_KEY} back for the renewal") from error
    assert isinstance(root_key, ec.EllipticCurvePrivateKey)  # noqa: S101 - made by create_trust_domain
    _issue_intermediate(directory, TrustDomain(trust_domain), seal_key, root, root_key, _now(clock))


def write_svid(directory: Path, svid: IssuedSvid, key: ec.EllipticCurvePrivateKey, bundle: TrustBundle) -> None:
    """Write svid.pem, svid.key (mode 0600), bundle.pem and bundle.jwks."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(directory / "svid.key", key_pem(key))
    write_private(directory / "svid.pem", svid.chain_pem, mode=0o644)
    write_private(directory / "bundle.pem", bundle.to_pem(), mode=0o644)
    write_private(directory / "bundle.jwks", bundle.to_jwks(), mode=0o644)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as PKCS #8 PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _issue_intermediate(
    directory: Path,
    domain: TrustDomain,
    seal_key: bytes,
    root: x509.Certificate,
    root_key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    lifetime = min(INTERMEDIATE_LIFETIME, root.not_valid_after_utc - now)
    certificate = (
        _certificate_authority(domain, "signing", key.public_key(), now, lifetime, path_length=0)
        .issuer_name(root.subject)
        .add_extension(_authority_key(root), critical=False)
        .sign(root_key, hashes.SHA384())
    )
    write_sealed(directory / _SIGNING_KEY, seal_key, _key_bytes(key))
    write_private(directory / _SIGNING_CERTIFICATE, certificate.public_bytes(Encoding.PEM), mode=0o644)


def _certificate_authority(
    domain: TrustDomain,
    role: str,
    public_key: ec.EllipticCurvePublicKey,
    now: datetime,
    lifetime: timedelta,
    path_length: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(domain, role))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(domain.id()))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _name(domain: TrustDomain, role: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "govgateway"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{domain.name} {role}"[:64]),
        ]
    )


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_key(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _key_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _now(clock: Clock) -> datetime:
    return datetime.fromtimestamp(clock() // NANOSECONDS, UTC)
