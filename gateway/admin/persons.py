"""People as those for whom an agent acts: an ID token of their identity provider, and who they are in the inventory."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from gateway.clock import NANOSECONDS, Clock
from gateway.config.model import PersonIssuer
from gateway.errors import UnavailableError
from identity.attestation.base import AttestationError, AttestationUnavailableError
from identity.attestation.oidc_keys import IssuerKeySource
from identity.attestation.oidc_token import OidcIssuer, parse_token, verify_token
from identity.errors import RegistryError, SvidError
from identity.registry import RegistrySnapshot, UsedTokens

ATTRIBUTE = "oidc"
"""Attribute of a person in the inventory: `<issuer>:<value of the claim>`."""


@dataclass(frozen=True, slots=True)
class Person:
    """A person that an ID token proved.

    Attributes:
        id: SPIFFE ID in the inventory.
        token_id: tells the token apart.
        not_after: end of the token (UNIX seconds).
    """

    id: str
    token_id: str
    not_after: int


class Persons:
    """Knows people by the ID tokens of the configured issuers."""

    def __init__(self, issuers: Sequence[PersonIssuer], used: UsedTokens, clock: Clock) -> None:
        """Make one.

        Raises:
            FetchError, ValueError: an issuer cannot be used.
        """
        self._issuers = {each.url: (each.claim, _issuer(each)) for each in issuers}
        self._keys = {each.url: IssuerKeySource(_issuer(each), clock) for each in issuers}
        self._used = used
        self._clock = clock

    async def verify(self, token: str, agents: RegistrySnapshot) -> Person:
        """Verify an ID token and find its person. Each token is good for one exchange.

        Raises:
            SvidError: the token is refused, or its person is not in the inventory.
            UnavailableError: it cannot be told now.
        """
        try:
            parsed = parse_token(token)
            found = self._issuers.get(parsed.issuer)
            if found is None:
                raise SvidError("oidc-issuer", f"the issuer {parsed.issuer[:200]!r} is not one of people here")
            claim, issuer = found
            keys = await self._keys[issuer.url].keys(parsed.key_id)
            claims = verify_token(parsed, issuer, keys, self._clock() // NANOSECONDS)
        except AttestationUnavailableError as error:
            raise UnavailableError(str(error), code=error.rule) from error
        except AttestationError as error:
            raise SvidError(error.rule, str(error)) from error
        spiffe_id = self._find(f"{issuer.name}:{claims.get(claim)}", agents)
        token_id = sha256(parsed.signed).hexdigest()
        not_after = int(claims["exp"])
        try:
            fresh = await asyncio.to_thread(self._used.use, f"person {token_id}", not_after)
        except RegistryError as error:
            raise UnavailableError(str(error), code="replay_unavailable") from error
        if not fresh:
            raise SvidError("jwt-replayed", "the ID token was exchanged before; get a new one")
        return Person(spiffe_id, token_id, not_after)

    def _find(self, name: str, agents: RegistrySnapshot) -> str:
        for agent in agents.agents.values():
            if agent.kind == "human" and agent.attributes.get(ATTRIBUTE) == name:
                return agent.id
        raise SvidError(
            "person-unknown",
            f"nobody in the inventory is {name}; register them with --kind human --attribute oidc={name}",
        )


def _issuer(config: PersonIssuer) -> OidcIssuer:
    return OidcIssuer(
        name=config.name,
        url=config.url,
        audience=config.audience,
        algorithms=frozenset(config.algorithms),
        ca_file=config.ca_file,
        key_hosts=frozenset(config.key_hosts),
        leeway_seconds=config.leeway_seconds,
        max_age_seconds=config.max_age_seconds,
    )
