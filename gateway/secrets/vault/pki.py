"""Vault's PKI engine as the authority above ours: it signs our signing authority, and keeps the root."""

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.secrets.fetched import SecretSourceError
from gateway.secrets.vault.transit import Engine
from identity.errors import AuthorityError


class VaultUpstream:
    """Has signing authorities signed (`identity.authority.UpstreamAuthority`).

    Args:
        engine: the client.
        path: of the operation, for instance `pki/root/sign-intermediate`.
    """

    def __init__(self, engine: Engine, path: str) -> None:
        self._engine = engine
        self._path = path

    def sign(self, request: x509.CertificateSigningRequest, seconds: int) -> tuple[x509.Certificate, ...]:
        """See `UpstreamAuthority.sign`."""
        asked = {
            "csr": request.public_bytes(Encoding.PEM).decode(),
            "use_csr_values": True,
            "max_path_length": 0,
            "ttl": f"{seconds}s",
            "format": "pem",
        }
        try:
            answer = self._engine.write(self._path, asked)
        except SecretSourceError as error:
            raise AuthorityError(
                f"Vault does not sign the signing authority: {error}. {error.remedy}".strip()
            ) from error
        pems = [answer.get("certificate"), answer.get("issuing_ca"), *(answer.get("ca_chain") or [])]
        try:
            found = [x509.load_pem_x509_certificate(pem.encode()) for pem in pems if isinstance(pem, str) and pem]
        except ValueError as error:
            raise AuthorityError(f"Vault answered {self._path} with no certificate: {error}") from error
        if not found:
            raise AuthorityError(f"Vault answered {self._path} without a certificate")
        return _chain(found[0], found[1:])


def _chain(leaf: x509.Certificate, others: list[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """Return a certificate and those above it, as far as they are there."""
    chain = [leaf]
    while chain[-1].subject != chain[-1].issuer:
        above = next((each for each in others if each.subject == chain[-1].issuer and each not in chain), None)
        if above is None:
            break
        chain.append(above)
    return tuple(chain)
