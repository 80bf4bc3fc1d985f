"""Attests a node by a token of a configured OIDC issuer: a CI job, a cloud machine, another platform's workload.

Only configured claims become selectors, each under the name of its issuer: `oidc:<issuer>:<claim>:<value>`. So no
issuer can say what only another may.
"""

import asyncio
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Protocol

from identity.attestation.base import (
    AttestationError,
    AttestationUnavailableError,
    Attested,
    Challenge,
    node_id,
    selector_value,
    text_member,
)
from identity.attestation.oidc_keys import IssuerKeySource
from identity.attestation.oidc_token import MAX_TOKEN_CHARACTERS, OidcIssuer, parse_token, verify_token
from identity.clock import NANOSECONDS, Clock
from identity.errors import RegistryError

MAX_VALUES = 64
"""Most values of one claim that become selectors."""


class UsedTokens(Protocol):
    """Remembers tokens that were shown; `identity.registry.Registry.used_tokens` is one."""

    def use(self, jti: str, expires_at: int) -> bool:
        """Note a token until `expires_at` (UNIX seconds); False if it was shown before.

        Raises:
            RegistryError: it cannot be remembered.
        """
        ...


class OidcAttestor:
    """Takes `{"token": …}`; its `iss` chooses among the configured issuers."""

    name = "oidc"

    def __init__(
        self, trust_domain: str, issuers: Sequence[OidcIssuer], clock: Clock, used: UsedTokens | None = None
    ) -> None:
        """Make one.

        Args:
            trust_domain: of the gateway.
            issuers: whose tokens attest.
            clock: the time.
            used: makes each token good for one attestation; None lets it be shown until it expires.

        Raises:
            ValueError: two issuers have the same name or address.
            FetchError: a CA file cannot be used.
        """
        if len({i.name for i in issuers}) < len(issuers) or len({i.url for i in issuers}) < len(issuers):
            raise ValueError("two OIDC issuers have the same name or the same address")
        self._trust_domain = trust_domain
        self._issuers = {issuer.url: (issuer, IssuerKeySource(issuer, clock)) for issuer in issuers}
        self._clock = clock
        self._used = used

    async def attest(self, payload: Mapping[str, Any], challenge: Challenge) -> Attested:  # noqa: ARG002 - the seam
        """See `NodeAttestor.attest`."""
        text = text_member(payload, "token", MAX_TOKEN_CHARACTERS)
        token = parse_token(text)
        found = self._issuers.get(token.issuer)
        if found is None:
            raise AttestationError("oidc-issuer", f"the issuer {token.issuer[:200]!r} is not configured here")
        issuer, source = found
        if token.algorithm not in issuer.algorithms:
            raise AttestationError("oidc-algorithm", f"{issuer.name} does not sign with {token.algorithm} here")
        claims = verify_token(token, issuer, await source.keys(token.key_id), self._clock() // NANOSECONDS)
        subject = claims.get("sub")
        if not isinstance(subject, str) or not subject:
            raise AttestationError("oidc-subject", "the token has no subject (sub)")
        await self._use(token.signed, int(claims["exp"]) + issuer.leeway_seconds)
        return Attested(
            node_id(self._trust_domain, self.name, issuer.name, sha256(subject.encode()).hexdigest()),
            frozenset(_selectors(issuer, claims)),
            self._used is None,
        )

    async def _use(self, signed: bytes, expires_at: int) -> None:
        if self._used is None:
            return
        # By what was signed: a signature can be written in more than one way, and a `jti` is up to the issuer.
        try:
            fresh = await asyncio.to_thread(self._used.use, f"oidc:{sha256(signed).hexdigest()}", expires_at)
        except RegistryError as error:
            raise AttestationUnavailableError(
                "oidc-unavailable", "the token cannot be remembered, so it is not taken; try again later"
            ) from error
        if not fresh:
            raise AttestationError("oidc-used", "the token was shown before; ask for a new one")


def _selectors(issuer: OidcIssuer, claims: Mapping[str, Any]) -> set[str]:
    selectors: set[str] = set()
    for claim in issuer.claims:
        value = _claim(claims, claim)
        for each in value[:MAX_VALUES] if isinstance(value, list) else [value]:
            text = _text(each)
            if text is not None:
                selectors.add(f"oidc:{issuer.name}:{claim}:{text}")
    return selectors


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(part)
    return value


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return selector_value(value) if isinstance(value, str) else None
