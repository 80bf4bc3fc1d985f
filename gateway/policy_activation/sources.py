"""The sources that revisions are pulled from: a file, a bundle server, another gateway, an object store."""

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from ssl import SSLContext
from urllib.parse import urlsplit

from audit.anchors.sigv4 import Credentials, signed_headers
from gateway.authorization.bundle.archive import MAX_PACKED_BYTES
from gateway.config.policy import BundleSource
from gateway.errors import ConfigError, UnavailableError
from gateway.policy_activation.following import Source, SourceError
from gateway.secrets.store import SecretStore
from identity.errors import SvidError
from identity.fetching import FetchError, Inspect, fetch_answer, tls_context

BUNDLES = "application/vnd.openpolicyagent.bundles"
"""Media type by which a bundle server says that it answers long polls."""

Tls = Callable[[], tuple[SSLContext, Inspect | None]]
"""Makes the TLS settings of one connection, with the certificate and bundles of the moment."""


def source_of(config: BundleSource, secrets: SecretStore, follow: Callable[[str], Tls]) -> Source:
    """Return the source that the configuration names.

    Args:
        config: the configuration.
        secrets: reads credentials.
        follow: makes the TLS settings towards the gateway with this SPIFFE ID.

    Raises:
        ConfigError: it cannot be used.
    """
    parts = urlsplit(config.url)
    if parts.scheme == "file":
        return FileSource(Path(parts.path))
    try:
        web = tls_context(config.ca_file)
    except FetchError as error:
        raise ConfigError(f"policy.bundle.ca_file: {error}") from error
    if parts.scheme == "s3":
        return S3Source(config, secrets, web)
    return HttpSource(config, secrets, follow(config.server_id) if config.server_id else lambda: (web, None))


class FileSource:
    """A bundle in a file, replaced by renaming."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self._seen: tuple[int, int, int] | None = None

    async def fetch(self) -> bytes | None:
        """Return the bundle if the file was changed."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> bytes | None:
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                seen = (status.st_ino, status.st_mtime_ns, status.st_size)
                if seen == self._seen:
                    return None
                content = file.read(MAX_PACKED_BYTES + 1)
        except OSError as error:
            raise SourceError(f"{self._path} cannot be read: {error.strerror}.") from error
        self._seen = seen
        return content


class HttpSource:
    """A bundle server: OPA's protocol, with ETag and long polling."""

    def __init__(self, config: BundleSource, secrets: SecretStore, tls: Tls) -> None:
        self.name = config.url
        self._config = config
        self._secrets = secrets
        self._tls = tls
        self._etag = ""
        self._long_poll = False

    async def fetch(self) -> bytes | None:
        """Return the bundle if it is another than the last."""
        wait = self._config.long_poll_seconds if self._long_poll else 0
        prefer = "modes=snapshot" + (
            f";wait={self._config.long_poll_seconds}" if self._config.long_poll_seconds else ""
        )
        headers = {"accept": f"{BUNDLES}, application/gzip", "prefer": prefer, **(await self._authorization())}
        if self._etag:
            headers["if-none-match"] = self._etag
        status, answered, body = await _get(
            self.name, self._tls, headers, self._config.timeout_seconds + wait, frozenset({200, 304})
        )
        if status == 304:
            return None
        self._long_poll = answered.get("content-type") == BUNDLES
        self._etag = answered.get("etag", "")
        return body

    async def _authorization(self) -> dict[str, str]:
        if not self._config.credential:
            return {}
        return {"authorization": f"Bearer {await _secret(self._secrets, self._config.credential)}"}


class S3Source:
    """An object of an S3 store, read with AWS Signature Version 4."""

    def __init__(self, config: BundleSource, secrets: SecretStore, tls: SSLContext) -> None:
        parts = urlsplit(config.url)
        self.name = config.url
        self._config = config
        self._secrets = secrets
        self._tls = tls
        self._etag = ""
        endpoint = config.s3.endpoint or f"https://s3.{config.s3.region}.amazonaws.com"
        self._url = f"{endpoint.rstrip('/')}/{parts.netloc}/{parts.path.lstrip('/')}"

    async def fetch(self) -> bytes | None:
        """Return the object if it is another than the last."""
        store = self._config.s3
        headers = {"if-none-match": self._etag} if self._etag else {}
        if store.access_key:
            credentials = Credentials(
                await _secret(self._secrets, store.access_key),
                await _secret(self._secrets, store.secret_key),
                store.region,
                "s3",
            )
            headers |= signed_headers(credentials, "GET", self._url)
        status, answered, body = await _get(
            self._url, lambda: (self._tls, None), headers, self._config.timeout_seconds, frozenset({200, 304})
        )
        if status == 304:
            return None
        self._etag = answered.get("etag", "")
        return body


async def _get(
    url: str, tls: Tls, headers: Mapping[str, str], seconds: float, statuses: frozenset[int]
) -> tuple[int, Mapping[str, str], bytes]:
    try:
        context, inspect = tls()
        answer = await fetch_answer(
            url, context, headers=headers, statuses=statuses, max_bytes=MAX_PACKED_BYTES, timeout_seconds=seconds,
            inspect=inspect,
        )  # fmt: skip
    except SvidError as error:
        raise SourceError(f"{url}: the server is not who it should be ({error.rule}): {error}") from error
    except FetchError as error:
        raise SourceError(f"{error}. The active revision stays.") from error
    return answer.status, answer.headers, answer.body


async def _secret(secrets: SecretStore, reference: str) -> str:
    try:
        value = (await secrets.resolve(reference)).value
        return value.reveal().decode() if value is not None else ""
    except UnavailableError as error:
        raise SourceError(f"policy.bundle: {error.detail}") from error
