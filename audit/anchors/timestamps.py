"""Time stamps (RFC 3161): an authority outside signs that a checkpoint existed at a time.

The stamp is over the SHA-256 of the signed note, byte by byte as it is kept beside it. It is verified when it comes,
and again whenever somebody asks, without the authority: all that takes is the note and the authority's root.
"""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from rfc3161_client import (
    HashAlgorithm,
    PKIStatus,
    TimeStampRequest,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)
from rfc3161_client.tsp import TimeStampTokenInfo

from audit.anchors.errors import AnchorError, TimestampError
from audit.bounded_http import BoundedClient

MAX_RESPONSE_BYTES = 65_536

_SHA256 = x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1")


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A time stamp that verified.

    Attributes:
        time_ns: when, by the authority's clock (UNIX nanoseconds).
        accuracy_us: how far off that may be (microseconds); None if the authority does not say.
        serial: the stamp's number at its authority.
        policy: under which policy it was made (object identifier).
        authority: subject of the certificate that signed it (RFC 4514).
    """

    time_ns: int
    accuracy_us: int | None
    serial: int
    policy: str
    authority: str


class TimestampAuthority:
    """An authority that is asked for time stamps. Not for two threads at once.

    Attributes:
        name: its URL.
    """

    def __init__(
        self, url: str, roots: Sequence[x509.Certificate], *, timeout: float, tls: ssl.SSLContext | None = None
    ) -> None:
        """Make a client. Plain http is fine: what is believed is the answer's signature, and only a digest is sent.

        Args:
            url: where requests are posted (RFC 3161, section 3.4).
            roots: certificates at which the signer's chain has to end.
            timeout: for a request and all of its answer (seconds).
            tls: how an https server is verified; default: as this machine verifies any.

        Raises:
            AnchorError: the URL or the roots cannot be used.
        """
        if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
            raise AnchorError(f"the time stamp authority needs an http or https URL, not {url!r}")
        if not roots:
            raise AnchorError(f"no root certificate is given for the time stamp authority {url}")
        self.name = url
        self._roots = tuple(roots)
        self._http = BoundedClient(
            f"the time stamp authority {url}", timeout=timeout, max_bytes=MAX_RESPONSE_BYTES, error=AnchorError, tls=tls
        )

    def stamp(self, note: bytes) -> bytes:
        """Return a verified time stamp of a signed note: the authority's answer in DER.

        Raises:
            AnchorError: the authority cannot be reached or answers something else.
            TimestampError: it refuses, or what it answers does not verify.
        """
        request = TimestampRequestBuilder().data(note).hash_algorithm(HashAlgorithm.SHA256).build()
        answer = self._http.ask("POST", self.name, {"content-type": "application/timestamp-query"}, request.as_bytes())
        if answer.status != 200:
            raise AnchorError(f"the time stamp authority {self.name} refuses: HTTP status {answer.status}")
        _verify(answer.body, note, self._roots, request)
        return answer.body

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


def verify_timestamp(response: bytes, note: bytes, roots: Sequence[x509.Certificate]) -> Timestamp:
    """Verify a time stamp that was kept; nobody is asked. Certificates have to be valid at the time it names.

    Args:
        response: the authority's answer (DER).
        note: the signed note, byte by byte as it was stamped.
        roots: certificates at which the signer's chain has to end.

    Raises:
        TimestampError: it does not verify.
    """
    return _verify(response, note, roots, None)


def load_roots(path: Path) -> list[x509.Certificate]:
    """Read the root certificates of an authority (PEM).

    Raises:
        AnchorError: the file cannot be read, or has none.
    """
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise AnchorError(f"{path} has no root certificates of a time stamp authority: {error}") from error


def _verify(
    response: bytes, note: bytes, roots: Sequence[x509.Certificate], request: TimeStampRequest | None
) -> Timestamp:
    if len(response) > MAX_RESPONSE_BYTES:
        raise TimestampError(f"an answer of an authority has at most {MAX_RESPONSE_BYTES:,} bytes")
    try:
        decoded = decode_timestamp_response(response)
        _check_content(decoded, sha256(note).digest())
        builder = VerifierBuilder(roots=list(roots))
        if request is not None and request.nonce is not None:
            builder = builder.nonce(request.nonce)
        builder.build().verify(decoded, sha256(note).digest())
        return _told(decoded)
    except TimestampError:
        raise
    except (VerificationError, ValueError) as error:
        raise TimestampError(f"the time stamp does not verify: {error}") from error


def _check_content(decoded: TimeStampResponse, digest: bytes) -> None:
    if decoded.status != PKIStatus.GRANTED:
        words = "; ".join(decoded.status_string)[:200]
        raise TimestampError(f"the time stamp was not granted ({_status(decoded.status)}): {words!r}")
    imprint = decoded.tst_info.message_imprint
    if imprint.hash_algorithm != _SHA256 or imprint.message != digest:
        raise TimestampError("the time stamp is of something else than this checkpoint")


def _told(decoded: TimeStampResponse) -> Timestamp:
    info = decoded.tst_info
    return Timestamp(
        _nanoseconds(info.gen_time), _accuracy(info), info.serial_number, info.policy.dotted_string, _signer(decoded)
    )


def _status(code: int) -> str:
    try:
        return PKIStatus(code).name.lower().replace("_", " ")
    except ValueError:
        return f"status {code}"


def _accuracy(info: TimeStampTokenInfo) -> int | None:
    accuracy = info.accuracy
    if not accuracy:
        return None
    return (accuracy.seconds or 0) * 1_000_000 + (accuracy.millis or 0) * 1_000 + (accuracy.micros or 0)


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1_000


def _signer(decoded: TimeStampResponse) -> str:
    [signer] = decoded.signed_data.signer_infos
    for der in decoded.signed_data.certificates:
        certificate = x509.load_der_x509_certificate(der)
        if (certificate.issuer, certificate.serial_number) == (signer.issuer, signer.serial_number):
            return certificate.subject.rfc4514_string()
    raise TimestampError("the time stamp does not hold the certificate of its signer")
