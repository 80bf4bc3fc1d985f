"""A time stamp authority (RFC 3161, CMS) whose answers a test spoils where it wants; the clock is the test's."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.certificates import CertificateAuthority, key_usage, new_key
from tests.support.der import Node, read

_SEQUENCE, _SET, _INTEGER, _OID, _OCTETS, _NULL = 0x30, 0x31, 0x02, 0x06, 0x04, 0x05
_SHA256 = "2.16.840.1.101.3.4.2.1"


def oid(dotted: str) -> bytes:
    first, second, *rest = (int(part) for part in dotted.split("."))
    digits = bytearray()
    for part in (first * 40 + second, *rest):
        chunk = [part & 0x7F]
        while part := part >> 7:
            chunk.append(0x80 | part & 0x7F)
        digits += bytes(reversed(chunk))
    return Node(_OID, bytes(digits)).write()


def integer(value: int) -> bytes:
    return Node(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, signed=True)).write()


def sequence(*parts: bytes, tag: int = _SEQUENCE) -> bytes:
    return Node(tag, b"".join(parts)).write()


def algorithm(dotted: str) -> bytes:
    return sequence(oid(dotted))


def signer_certificate(
    root: CertificateAuthority, now: int, *, usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.TIME_STAMPING,
    critical: bool = True, days: int = 1,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:  # fmt: skip
    """Issue a certificate for an authority, valid for `days` around `now` (UNIX seconds)."""
    key = new_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "time stamps of a test")]))
        .issuer_name(root.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(now - 60, UTC))
        .not_valid_after(datetime.fromtimestamp(now + days * 86_400, UTC))
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=critical)
        .add_extension(key_usage("digital_signature"), critical=True)
    )
    return builder.sign(root.key, hashes.SHA256()), key


@dataclass
class StampingAuthority:
    """Answers requests. What is None is taken from the request, as it should be."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    clock: Callable[[], int]
    status: int = 0
    digest: bytes | None = None
    nonce: int | None = None
    hash_algorithm: str = _SHA256
    sign_with: ec.EllipticCurvePrivateKey | None = None

    def answer(self, request: bytes) -> bytes:
        """Return the DER of a TimeStampResp for the DER of a TimeStampReq."""
        if self.status not in {0, 1}:
            text = sequence(Node(0x0C, b"not today").write())
            return sequence(sequence(integer(self.status), text))
        _, imprint, nonce, _ = read(request).children
        return sequence(sequence(integer(self.status)), self._token(imprint.children[1].content, nonce))

    def stamp(self, data: bytes) -> bytes:
        """Return the answer to a request for these bytes."""
        nonce = Node(_INTEGER, b"\x05")
        imprint = sequence(algorithm(_SHA256), Node(_OCTETS, sha256(data).digest()).write())
        return self.answer(sequence(integer(1), imprint, nonce.write(), Node(0x01, b"\xff").write()))

    def _token(self, asked: bytes, nonce: Node) -> bytes:
        moment = datetime.fromtimestamp(self.clock(), UTC).strftime("%Y%m%d%H%M%SZ").encode()
        imprint = sequence(algorithm(self.hash_algorithm), Node(_OCTETS, self.digest or asked).write())
        info = sequence(
            integer(1),
            oid("1.2.3.4.1"),
            imprint,
            integer(4711),
            Node(0x18, moment).write(),
            sequence(integer(1), Node(0x80, b"\x05").write()),
            nonce.write() if self.nonce is None else integer(self.nonce),
        )
        certificate = self.certificate.public_bytes(Encoding.DER)
        content_type = "1.2.840.113549.1.9.16.1.4"
        attributes = sorted(
            [
                sequence(oid("1.2.840.113549.1.9.3"), sequence(oid(content_type), tag=_SET)),
                sequence(oid("1.2.840.113549.1.9.4"), sequence(Node(_OCTETS, sha256(info).digest()).write(), tag=_SET)),
                sequence(
                    oid("1.2.840.113549.1.9.16.2.47"),
                    sequence(
                        sequence(sequence(sequence(Node(_OCTETS, sha256(certificate).digest()).write()))), tag=_SET
                    ),
                ),
            ]
        )
        signature = (self.sign_with or self.key).sign(sequence(*attributes, tag=_SET), ec.ECDSA(hashes.SHA256()))
        signer = sequence(
            integer(1),
            sequence(self.certificate.issuer.public_bytes(), integer(self.certificate.serial_number)),
            algorithm(_SHA256),
            sequence(*attributes, tag=0xA0),
            algorithm("1.2.840.10045.4.3.2"),
            Node(_OCTETS, signature).write(),
        )
        signed = sequence(
            integer(3),
            sequence(algorithm(_SHA256), tag=_SET),
            sequence(oid(content_type), sequence(Node(_OCTETS, info).write(), tag=0xA0)),
            sequence(certificate, tag=0xA0),
            sequence(signer, tag=_SET),
        )
        return sequence(oid("1.2.840.113549.1.7.2"), sequence(signed, tag=0xA0))
