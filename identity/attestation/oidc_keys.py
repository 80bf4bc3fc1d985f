"""The keys of one OIDC issuer: found through its discovery document, kept, and fetched again when they must be.

An unknown key id asks for a refresh, but no more often than every `MIN_REFRESH_SECONDS`, whoever sends what. Keys that
could not be refreshed are used for `MAX_STALE_SECONDS` and then not any more.
"""

import asyncio
from typing import Any
from urllib.parse import urlsplit

from identity.attestation.base import AttestationUnavailableError
from identity.attestation.oidc_token import IssuerKey, IssuerKeys, OidcIssuer
from identity.clock import NANOSECONDS, Clock
from identity.fetching import FetchError, fetch, https_url, tls_context
from identity.jwk import parse_public_jwk
from identity.strict_json import parse_object

REFRESH_SECONDS = 3600
MIN_REFRESH_SECONDS = 30
MAX_STALE_SECONDS = 4 * 3600
MAX_KEYS = 100
MAX_DOCUMENT_BYTES = 256 * 1024


class IssuerKeySource:
    """Keeps the keys of one issuer. Belongs to one event loop."""

    def __init__(self, issuer: OidcIssuer, clock: Clock, timeout_seconds: float = 5.0) -> None:
        """Make one; nothing is fetched yet.

        Raises:
            FetchError: the CA file cannot be used.
        """
        self._issuer = issuer
        self._clock = clock
        self._timeout = timeout_seconds
        self._tls = tls_context(issuer.ca_file)
        self._keys: IssuerKeys = {}
        self._fetched_at: int | None = None
        self._tried_at: int | None = None
        self._lock = asyncio.Lock()

    async def keys(self, key_id: str) -> IssuerKeys:
        """Return the issuer's keys, fetched anew if they are old or lack `key_id` and that may be done now.

        Raises:
            AttestationUnavailableError: there are none that are young enough.
        """
        if self._lacks(key_id):
            async with self._lock:  # whoever comes while keys are fetched waits for them
                if self._lacks(key_id) and self._may_try():
                    await self._refresh()
        if self._fetched_at is None or self._now() - self._fetched_at > MAX_STALE_SECONDS:
            raise AttestationUnavailableError(
                "oidc-unavailable", f"the keys of {self._issuer.name} cannot be fetched; try again later"
            )
        return self._keys

    def _lacks(self, key_id: str) -> bool:
        if self._fetched_at is None or key_id not in self._keys:
            return True
        return not 0 <= self._now() - self._fetched_at < REFRESH_SECONDS

    def _may_try(self) -> bool:
        return self._tried_at is None or not 0 <= self._now() - self._tried_at < MIN_REFRESH_SECONDS

    async def _refresh(self) -> None:
        self._tried_at = self._now()
        try:
            discovery = await self._get(self._issuer.url.rstrip("/") + "/.well-known/openid-configuration")
            keys = _parse(await self._get(self._keys_url(discovery)))
        except FetchError as error:
            if self._fetched_at is None:
                raise AttestationUnavailableError(
                    "oidc-unavailable", f"the keys of {self._issuer.name} cannot be fetched; try again later"
                ) from error
            return
        self._keys, self._fetched_at = keys, self._now()

    def _keys_url(self, discovery: dict[str, Any]) -> str:
        if discovery.get("issuer") != self._issuer.url:
            raise FetchError(f"the discovery document of {self._issuer.url} is one of another issuer")
        url = discovery.get("jwks_uri")
        if not isinstance(url, str):
            raise FetchError(f"the discovery document of {self._issuer.url} names no keys (jwks_uri)")
        host = urlsplit(https_url(url)).netloc
        if host != urlsplit(self._issuer.url).netloc and host not in self._issuer.key_hosts:
            raise FetchError(f"{self._issuer.url} has its keys on {host}, which is not among the configured key_hosts")
        return url

    async def _get(self, url: str) -> dict[str, Any]:
        body = await fetch(url, self._tls, max_bytes=MAX_DOCUMENT_BYTES, timeout_seconds=self._timeout)
        try:
            return parse_object(body)
        except ValueError as error:
            raise FetchError(f"{url}: {error}") from error

    def _now(self) -> int:
        return self._clock() // NANOSECONDS


def _parse(document: dict[str, Any]) -> IssuerKeys:
    keys = document.get("keys")
    if not isinstance(keys, list) or len(keys) > MAX_KEYS:
        raise FetchError(f"the issuer's keys are not a JWKS of at most {MAX_KEYS}")
    found: dict[str, list[IssuerKey]] = {}
    for jwk in keys:
        if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig":
            continue
        key_id, algorithm = jwk.get("kid"), jwk.get("alg")
        if not isinstance(key_id, str) or not isinstance(algorithm, str | None):
            continue
        try:
            found.setdefault(key_id, []).append(IssuerKey(parse_public_jwk(jwk), algorithm))
        except ValueError:
            continue  # of a type, curve or strength that is not taken; the others are not worse for it
    return found
