"""How a backend is shown its credential: in header fields, never in the address."""

import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from audit.anchors.sigv4 import Credentials, signed_headers
from gateway.errors import UnavailableError
from gateway.secrets.store import Resolved, Secret

Kind = Literal["bearer", "header", "basic", "aws-sigv4"]

_TOKEN = re.compile(rb"[\x21-\x7e]+")
_TEXT = re.compile(rb"[\x20-\x7e]+")


@dataclass(frozen=True, slots=True)
class Injection:
    """How one backend takes its credential.

    Attributes:
        kind: `Authorization: Bearer`, a named header field, `Authorization: Basic` (RFC 7617), or a signature of the
            whole request (AWS Signature Version 4).
        header: name of the field, in lower case (`header`).
        user: the user (`basic`); empty: the field `username` of the credential's path.
        region, service: for which a signature is valid (`aws-sigv4`).
    """

    kind: Kind = "bearer"
    header: str = ""
    user: str = ""
    region: str = ""
    service: str = ""


AS_BEARER = Injection()


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The request that a credential goes with."""

    url: str
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


def credential_fields(
    injection: Injection, credential: Resolved, request: Outgoing, now: datetime | None = None
) -> list[tuple[bytes, bytes]]:
    """Return the header fields that show a credential.

    Args:
        injection: how.
        credential: what the reference names at this moment.
        request: what it goes with; a signature covers it.
        now: time of a signature; default: now.

    Raises:
        UnavailableError: it is not what such a header takes; the message names the reference, not the value.
    """
    match injection.kind:
        case "bearer":
            return [(b"authorization", b"Bearer " + _shown(credential, _single(credential), _TOKEN))]
        case "header":
            return [(injection.header.encode(), _shown(credential, _single(credential), _TEXT))]
        case "basic":
            user = injection.user.encode() or _shown(credential, _field(credential, "username"), _TEXT)
            if b":" in user:
                raise _malformed(credential, "a user with a colon cannot be shown (RFC 7617, section 2)")
            single = credential.value or _field(credential, "password")
            return [(b"authorization", b"Basic " + b64encode(user + b":" + _shown(credential, single, _TEXT)))]
        case "aws-sigv4":
            return _signature(injection, credential, request, now)


def _signature(
    injection: Injection, credential: Resolved, request: Outgoing, now: datetime | None
) -> list[tuple[bytes, bytes]]:
    token = credential.fields.get("session_token") or credential.fields.get("security_token")
    credentials = Credentials(
        _shown(credential, _field(credential, "access_key"), _TOKEN).decode(),
        _shown(credential, _field(credential, "secret_key"), _TOKEN).decode(),
        injection.region,
        injection.service,
        _shown(credential, token, _TOKEN).decode() if token is not None else "",
    )
    signed = {name.decode(): value.decode("latin-1") for name, value in request.headers if name == b"content-type"}
    moment = now or datetime.now(UTC)
    fields = signed_headers(credentials, "POST", request.url, moment, body=request.body, headers=signed)
    return [(name.encode(), value.encode("latin-1")) for name, value in fields.items() if name not in signed]


def _single(credential: Resolved) -> Secret:
    if credential.value is None:
        there = ", ".join(sorted(credential.fields)) or "none"
        raise _malformed(credential, f"it names a path with several fields; add #FIELD, one of: {there}")
    return credential.value


def _field(credential: Resolved, name: str) -> Secret:
    found = credential.fields.get(name)
    if found is None:
        raise _malformed(credential, f"there is no field {name} at its path")
    return found


def _shown(credential: Resolved, secret: Secret, allowed: re.Pattern[bytes]) -> bytes:
    value = secret.reveal()
    if not allowed.fullmatch(value):
        raise _malformed(credential, "it is empty or has line breaks or other characters that no header field takes")
    return value


def _malformed(credential: Resolved, cause: str) -> UnavailableError:
    return UnavailableError(f"{credential.reference}: {cause}", code="secret_malformed")
