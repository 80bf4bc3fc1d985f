"""Attests a node by a certificate of a known authority and a proof that the node has its key.

The node sends its chain (PEM); the gateway verifies it and answers with a nonce. The node signs `proof_statement`: the
purpose, the trust domain, both nonces and the digest of its certificate request. So a signature made for anything
else is no proof, none can be shown twice, and none can be passed on for another node's request.
"""

import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import ExtensionPolicy, PolicyBuilder, Store, VerificationError

from identity.attestation.base import AttestationError, Attested, Challenge, node_id, selector_value, text_member
from identity.clock import NANOSECONDS, Clock
from identity.errors import BundleError
from identity.jwk import decode, encode
from identity.x509_svid import KEY_TYPES, is_strong

PURPOSE = "govgateway-node-attestation-x509pop-v1"
"""First line of what is signed."""

MAX_CHAIN = 8
MAX_PEM_CHARACTERS = 65_536
_NONCE_BYTES = 32

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def proof_statement(trust_domain: str, gateway_nonce: bytes, node_nonce: bytes, binding: str) -> bytes:
    """Return what a node signs.

    Args:
        trust_domain: of the gateway.
        gateway_nonce, node_nonce: of the challenge and of the answer.
        binding: SHA-256 (hex) of the certificate request (DER).
    """
    return "\n".join([PURPOSE, trust_domain, encode(gateway_nonce), encode(node_nonce), binding, ""]).encode()


def answer(key: PrivateKey, message: Mapping[str, Any], trust_domain: str, binding: str) -> dict[str, str]:
    """Answer a challenge: the part of the node.

    Args:
        key: of the certificate.
        message: the challenge as it came.
        trust_domain: that the node means to join; never taken from the message.
        binding: SHA-256 (hex) of its certificate request (DER).

    Raises:
        AttestationError: the message is not a challenge of this method.
    """
    if message.get("purpose") != PURPOSE:
        raise AttestationError("x509pop-purpose", "the challenge is not one of x509pop; nothing is signed")
    node_nonce = secrets.token_bytes(_NONCE_BYTES)
    statement = proof_statement(trust_domain, _nonce(message), node_nonce, binding)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        signature = key.sign(statement, ec.ECDSA(_digest(key.curve)))
    elif isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(statement, _PSS, hashes.SHA256())
    else:
        signature = key.sign(statement)
    return {"nonce": encode(node_nonce), "signature": encode(signature)}


class X509PopAttestor:
    """Takes `{"chain": PEM, leaf first}` and asks for a signature."""

    name = "x509pop"

    def __init__(
        self,
        trust_domain: str,
        ca_files: Sequence[Path],
        clock: Clock,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        """Make one.

        Args:
            trust_domain: of the gateway.
            ca_files: PEM files with the authorities whose certificates are taken.
            clock: the time.
            random_bytes: makes nonces.

        Raises:
            BundleError: a file cannot be used, or there is no authority.
        """
        self._trust_domain = trust_domain
        self._store = Store(_authorities(ca_files))
        self._clock = clock
        self._random = random_bytes

    async def attest(self, payload: Mapping[str, Any], challenge: Challenge) -> Attested:
        """See `NodeAttestor.attest`."""
        chain = _parse(text_member(payload, "chain", MAX_PEM_CHARACTERS))
        authorities = self._verify(chain)
        nonce = self._random(_NONCE_BYTES)
        reply = await challenge.ask({"purpose": PURPOSE, "nonce": encode(nonce)})
        node_nonce = _nonce(reply)
        if hmac.compare_digest(node_nonce, nonce):
            raise AttestationError("x509pop-nonce", "the answer repeats the gateway's nonce; it needs one of its own")
        statement = proof_statement(self._trust_domain, nonce, node_nonce, challenge.binding)
        if not _is_signed(chain[0], statement, _bytes(reply, "signature")):
            raise AttestationError(
                "x509pop-signature",
                "the signature over the challenge is not one of the certificate's key; sign the statement for this "
                "challenge and this certificate request",
            )
        if self._clock() // NANOSECONDS >= chain[0].not_valid_after_utc.timestamp():
            raise AttestationError("x509pop-chain", "the certificate has expired")
        fingerprint = chain[0].fingerprint(hashes.SHA256()).hex()
        return Attested(
            node_id(self._trust_domain, self.name, fingerprint), _selectors(chain[0], fingerprint, authorities), True
        )

    def _verify(self, chain: list[x509.Certificate]) -> list[x509.Certificate]:
        """Return the authorities of the verified chain."""
        try:
            _check_leaf(chain[0])
            now = datetime.fromtimestamp(self._clock() // NANOSECONDS, UTC)
            policy = PolicyBuilder().store(self._store).time(now).max_chain_depth(MAX_CHAIN)
            # Certificates of machines have no names that a web browser would take; the leaf is checked above.
            policy = policy.extension_policies(
                ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=ExtensionPolicy.permit_all()
            )
            return policy.build_client_verifier().verify(chain[0], chain[1:]).chain[1:]
        except AttestationError:
            raise
        except VerificationError as error:
            raise AttestationError(
                "x509pop-chain", f"no chain leads from the certificate to a configured authority: {error}"
            ) from error
        except Exception as error:  # extensions and keys are read lazily, each fault with a type of its own
            raise AttestationError("x509pop-malformed", f"a certificate cannot be read: {error}") from error


_PSS = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)


def _authorities(files: Sequence[Path]) -> list[x509.Certificate]:
    found: list[x509.Certificate] = []
    for path in files:
        try:
            found += x509.load_pem_x509_certificates(path.read_bytes())
        except OSError as error:
            raise BundleError(f"the authorities {path} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise BundleError(f"{path} is not a PEM file of certificates: {error}") from error
    if not found:
        raise BundleError("x509pop needs a PEM file with the authorities of the nodes' certificates")
    return found


def _parse(pem: str) -> list[x509.Certificate]:
    try:
        chain = x509.load_pem_x509_certificates(pem.encode())
    except (ValueError, x509.InvalidVersion) as error:
        raise AttestationError("x509pop-malformed", f"'chain' is not a PEM chain of certificates: {error}") from error
    if len(chain) > MAX_CHAIN:
        raise AttestationError(
            "x509pop-malformed", f"{len(chain)} certificates were sent; at most {MAX_CHAIN} are read"
        )
    return chain


def _check_leaf(leaf: x509.Certificate) -> None:
    extensions = leaf.extensions
    for extension in extensions:
        if isinstance(extension.value, x509.BasicConstraints) and extension.value.ca:
            raise AttestationError("x509pop-leaf", "the certificate is a signing certificate, which is never a node")
        if isinstance(extension.value, x509.KeyUsage) and not extension.value.digital_signature:
            raise AttestationError("x509pop-leaf", "the certificate's key is not for signatures (digitalSignature)")
        if isinstance(extension.value, x509.ExtendedKeyUsage) and not _CLIENT & set(extension.value):
            raise AttestationError("x509pop-leaf", "the certificate is not for clients (clientAuth)")
        if extension.critical and isinstance(extension.value, x509.UnrecognizedExtension):
            raise AttestationError("x509pop-leaf", f"the critical extension {extension.oid.dotted_string} is unknown")
    try:
        strong = is_strong(leaf.public_key())
    except (UnsupportedAlgorithm, ValueError):
        strong = False
    if not strong:
        raise AttestationError("x509pop-leaf", f"the certificate's key is of no accepted type: {KEY_TYPES}")


_CLIENT = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}


def _is_signed(leaf: x509.Certificate, statement: bytes, signature: bytes) -> bool:
    key = leaf.public_key()
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, statement, ec.ECDSA(_digest(key.curve)))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, statement, _PSS, hashes.SHA256())
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, statement)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _digest(curve: ec.EllipticCurve) -> hashes.HashAlgorithm:
    return hashes.SHA384() if curve.key_size > 256 else hashes.SHA256()


def _selectors(leaf: x509.Certificate, fingerprint: str, authorities: list[x509.Certificate]) -> frozenset[str]:
    serial = leaf.serial_number
    selectors = {
        f"x509pop:serialnumber:{serial.to_bytes((serial.bit_length() + 7) // 8 or 1).hex()}",
        f"x509pop:fingerprint:{fingerprint}",
    }
    names = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = selector_value(str(names[0].value)) if len(names) == 1 else None
    if name is not None:
        selectors.add(f"x509pop:subject:cn:{name}")
    for authority in authorities:
        selectors.add(f"x509pop:ca:fingerprint:{authority.fingerprint(hashes.SHA256()).hex()}")
        # SPIRE names an authority by its SHA-1; the chain up to it is verified, so this is a name, not a proof.
        selectors.add(f"x509pop:ca:fingerprint:{authority.fingerprint(hashes.SHA1()).hex()}")  # noqa: S303
    return frozenset(selectors)


def _nonce(message: Mapping[str, Any]) -> bytes:
    nonce = _bytes(message, "nonce")
    if len(nonce) != _NONCE_BYTES:
        raise AttestationError("x509pop-nonce", f"a nonce has {_NONCE_BYTES} bytes, this one {len(nonce)}")
    return nonce


def _bytes(message: Mapping[str, Any], name: str) -> bytes:
    try:
        return decode(text_member(message, name, 4096))
    except ValueError as error:
        raise AttestationError("x509pop-malformed", f"the member {name!r}: {error}") from error
