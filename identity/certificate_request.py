"""Certificate requests (PKCS #10) of workloads that keep their own keys: made by them, and read by the gateway."""

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from identity.errors import IdentityError
from identity.x509_svid import KEY_TYPES, is_strong


class CertificateRequestError(IdentityError):
    """A certificate request cannot be signed.

    Attributes:
        rule: stable slug of the rule that refused it.
    """

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


def make_request(key: ec.EllipticCurvePrivateKey, spiffe_id: str = "") -> x509.CertificateSigningRequest:
    """Return a request for `key`; it names `spiffe_id` if there are several to choose from."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if spiffe_id:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe_id)])
        builder = builder.add_extension(names, critical=True)
    return builder.sign(key, hashes.SHA256())


def request_pem(request: x509.CertificateSigningRequest) -> str:
    """Return a request as PEM."""
    return request.public_bytes(Encoding.PEM).decode()


def parse_request(pem: object) -> x509.CertificateSigningRequest:
    """Read a request and check that whoever made it has its key, and that the key is strong.

    Raises:
        CertificateRequestError: `payload-malformed`, `csr-key` or `csr-signature`.
    """
    if not isinstance(pem, str):
        raise CertificateRequestError(
            "payload-malformed", "the request needs the member 'csr', a PEM certificate request"
        )
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        if not is_strong(request.public_key()):
            raise CertificateRequestError("csr-key", f"the key of the certificate request is none of: {KEY_TYPES}")
        if not request.is_signature_valid:
            raise CertificateRequestError("csr-signature", "the certificate request is not signed with its own key")
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise CertificateRequestError(
            "payload-malformed", f"the certificate request cannot be read: {error}"
        ) from error
    return request


def named_ids(request: x509.CertificateSigningRequest) -> tuple[str, ...]:
    """Return the URIs that a request names; nothing else that it says about itself counts."""
    try:
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return ()
    return tuple(map(str, names.get_values_for_type(x509.UniformResourceIdentifier)))
