"""S3 with object lock as an object store, through its HTTP interface, each request signed with Signature Version 4."""

import ssl
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import md5
from typing import Literal
from urllib.parse import quote, unquote, urlsplit
from xml.etree import ElementTree

from audit.anchors.errors import AnchorError
from audit.anchors.object_store import Retention, StoredObject
from audit.anchors.sigv4 import Credentials, signed_headers
from audit.bounded_http import BoundedClient, HttpAnswer, is_loopback

MAX_ANSWER_BYTES = 4 << 20

LockMode = Literal["COMPLIANCE", "GOVERNANCE"]


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where objects go.

    Attributes:
        endpoint: URL of the service, without the bucket.
        name: the bucket.
        mode: how objects are locked.
    """

    endpoint: str
    name: str
    mode: LockMode = "COMPLIANCE"


class S3ObjectStore:
    """A bucket with versioning and object lock. Not for two threads at once.

    Attributes:
        name: the bucket, for error messages.
    """

    def __init__(
        self, bucket: Bucket, credentials: Callable[[], Credentials], *, timeout: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        """Make a client; nothing is asked yet.

        Args:
            bucket: where.
            credentials: asked before each request, so that they may be renewed.
            timeout: for a request and all of its answer (seconds).
            tls: how the service is verified; default: as this machine verifies any.

        Raises:
            AnchorError: the endpoint cannot be used.
        """
        if urlsplit(bucket.endpoint).scheme != "https" and not is_loopback(bucket.endpoint):
            raise AnchorError(f"the object store needs an https endpoint, not {bucket.endpoint!r}")
        self.name = f"the bucket {bucket.name}"
        self._bucket = bucket
        self._credentials = credentials
        self._http = BoundedClient(self.name, timeout=timeout, max_bytes=MAX_ANSWER_BYTES, error=AnchorError, tls=tls)

    def check(self) -> None:
        """Check that the bucket locks objects.

        Raises:
            AnchorError: it does not, or cannot be asked.
        """
        answer = self._ask("GET", "", "object-lock")
        enabled = answer.status == 200 and _xml(answer.body, self.name).findtext(".//{*}ObjectLockEnabled")
        if enabled != "Enabled":
            raise AnchorError(
                f"{self.name} does not lock objects ({answer.status} {_code(answer.body)}): make one with object lock "
                f"enabled, and allow s3:GetBucketObjectLockConfiguration, s3:GetObjectRetention, s3:GetObjectVersion, "
                f"s3:ListBucketVersions, s3:PutObject and s3:PutObjectRetention"
            )

    def put(self, key: str, data: bytes, retain_until: int | None) -> str:
        """Put an object, locked until a time or not at all, and return its version."""
        headers = {
            # S3 takes no object under lock without a digest of this kind.
            "content-md5": b64encode(md5(data, usedforsecurity=False).digest()).decode(),
            "content-type": "application/octet-stream",
        }
        if retain_until is not None:
            headers["x-amz-object-lock-mode"] = self._bucket.mode
            headers["x-amz-object-lock-retain-until-date"] = _iso(retain_until)
        answer = self._ask("PUT", key, headers=headers, body=data)
        if answer.status != 200:
            raise self._refused(f"takes {key} not", answer)
        version = answer.headers.get("x-amz-version-id", "")
        if not version:
            raise AnchorError(f"{self.name} keeps no versions: enable versioning and object lock")
        return version

    def get(self, key: str, version: str) -> bytes:
        """Return a version of an object."""
        answer = self._ask("GET", key, f"versionId={_quoted(version)}")
        if answer.status != 200:
            raise self._refused(f"does not give {key}", answer)
        return answer.body

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        """Return all versions of objects, by key, also of those taken away."""
        marker = {"key-marker": after} if after else {}
        while True:
            query = {"versions": "", "encoding-type": "url", "prefix": prefix, **marker}
            answer = self._ask("GET", "", "&".join(f"{name}={_quoted(value)}" for name, value in query.items()))
            if answer.status != 200:
                raise self._refused("does not list what is there", answer)
            page = _xml(answer.body, self.name)
            try:
                yield from map(_object, page.iterfind("{*}Version"))
            except ValueError as error:
                raise AnchorError(f"{self.name} lists what cannot be read: {error}") from error
            if page.findtext("{*}IsTruncated") != "true":
                return
            following = {
                "key-marker": unquote(page.findtext("{*}NextKeyMarker") or ""),
                "version-id-marker": page.findtext("{*}NextVersionIdMarker") or "",
            }
            if following == marker or not following["key-marker"]:
                raise AnchorError(f"{self.name} lists the same again and again")
            marker = following

    def retention(self, key: str, version: str) -> Retention | None:
        """Return how a version is locked; None if it is not."""
        answer = self._ask("HEAD", key, f"versionId={_quoted(version)}")
        if answer.status != 200:
            raise self._refused(f"does not say how {key} is locked", answer)
        mode = answer.headers.get("x-amz-object-lock-mode")
        until = answer.headers.get("x-amz-object-lock-retain-until-date")
        if not mode or not until:
            return None
        try:
            return Retention(mode, _seconds(until))
        except ValueError as error:
            raise AnchorError(f"{self.name} says {until[:40]!r} for a date") from error

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _ask(
        self, method: str, key: str, query: str = "", *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> HttpAnswer:
        path = "/".join(filter(None, (self._bucket.name, quote(key, safe="/-_.~"))))
        url = f"{self._bucket.endpoint.rstrip('/')}/{path}" + (f"?{query}" if query else "")
        return self._http.ask(
            method, url, signed_headers(self._credentials(), method, url, body=body, headers=headers), body
        )

    def _refused(self, what: str, answer: HttpAnswer) -> AnchorError:
        return AnchorError(f"{self.name} {what}: {answer.status} {_code(answer.body)}".rstrip())


def _object(version: ElementTree.Element) -> StoredObject:
    return StoredObject(
        unquote(version.findtext("{*}Key") or ""),
        version.findtext("{*}VersionId") or "",
        _seconds(version.findtext("{*}LastModified") or ""),
        int(version.findtext("{*}Size") or ""),
    )


def _code(body: bytes) -> str:
    """Return the error code of an answer, for instance `AccessDenied`; empty if it has none."""
    try:
        return (_xml(body, "").findtext("{*}Code") or "")[:100]
    except AnchorError:
        return ""


def _xml(body: bytes, server: str) -> ElementTree.Element:
    try:
        text = body.decode()
        if "<!" in text:
            raise AnchorError(f"{server} answers with a document type declaration, and S3 has none")
        return ElementTree.fromstring(text)  # noqa: S314 - without a declaration there are no entities to expand
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise AnchorError(f"{server} answers something else than S3 does: {error}") from error


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")
