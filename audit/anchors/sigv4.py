"""AWS Signature Version 4 of a request (docs.aws.amazon.com, Signature Version 4 signing process)."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import quote, unquote, urlsplit

_UNRESERVED = "-_.~"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Whose signature, and for which service of which region.

    Attributes:
        session_token: goes with temporary credentials; empty for lasting ones.
    """

    access_key: str
    secret_key: str = field(repr=False)
    region: str
    service: str
    session_token: str = field(default="", repr=False)


def signed_headers(
    credentials: Credentials,
    method: str,
    url: str,
    now: datetime | None = None,
    *,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the header fields of a signed request: those given, and those that sign them, the query and the body.

    Args:
        credentials: who signs.
        method: HTTP method.
        url: where it goes; the query is percent-encoded as it will be sent.
        now: time of the signature; default: now.
        body: what is sent.
        headers: further fields to send, names in lower case; they are signed.
    """
    moment = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    parts = urlsplit(url)
    digest = sha256(body).hexdigest()
    signed = {**(headers or {}), "host": parts.netloc, "x-amz-content-sha256": digest, "x-amz-date": moment}
    if credentials.session_token:
        signed["x-amz-security-token"] = credentials.session_token
    names = ";".join(sorted(signed))
    canonical = "\n".join(
        [
            method,
            _canonical_path(parts.path, credentials.service),
            _canonical_query(parts.query),
            *(f"{name}:{' '.join(signed[name].split())}" for name in sorted(signed)),
            "",
            names,
            digest,
        ]
    )
    scope = f"{moment[:8]}/{credentials.region}/{credentials.service}/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", moment, scope, sha256(canonical.encode()).hexdigest()])
    key = b"AWS4" + credentials.secret_key.encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), sha256)
    signature = hmac.digest(key, to_sign.encode(), sha256).hex()
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return {**{name: value for name, value in signed.items() if name != "host"}, "authorization": authorization}


def _canonical_path(path: str, service: str) -> str:
    """Return the path as it is signed: encoded once more than it is sent, but for S3, which takes it as it is."""
    return quote(unquote(path) if service == "s3" else path or "/", safe=f"/{_UNRESERVED}")


def _canonical_query(query: str) -> str:
    split = (part.partition("=") for part in query.split("&") if part)
    pairs = sorted((_encoded(name), _encoded(value)) for name, _, value in split)
    return "&".join(f"{name}={value}" for name, value in pairs)


def _encoded(text: str) -> str:
    return quote(unquote(text), safe=_UNRESERVED)
