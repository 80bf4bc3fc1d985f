"""Token exchange (RFC 8693): an agent hands its authority over to another, and the other takes it up.

Two steps, both over mutual TLS, so that a token in the wrong hands is worth nothing:

1. *Hand over.* The holder shows its token (its own JWT-SVID, or one it took up before) and names who may act for it
   with `may_act`. It gets a token that only the exchange accepts, and only from that one.
2. *Take up.* The one named shows that token. It gets a token whose `act` claim carries the whole chain, bound to its
   certificate (`cnf.x5t#S256`, RFC 8705).

A person's ID token is taken up in one step: it was made for this gateway, and given to the agent that shows it.

No token outlives the one it came from, and each is exchanged once. What a chain may do is decided call by call, as the
intersection of what its links may do (`gateway.authorization.delegated`); a chain is never wider than its parent.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from gateway.admin.persons import Persons
from gateway.authentication import thumbprint
from gateway.clock import NANOSECONDS, Clock
from gateway.config.model import Delegation
from gateway.errors import GatewayError, IdentityRefusedError, UnavailableError
from gateway.standing import check_standing
from identity.authority import Authority
from identity.bundle import TrustBundle
from identity.delegation import act_claim, chain_of, extend
from identity.errors import IdentityError, RegistryError, SpiffeIdError, SvidError
from identity.jwt_svid import JwtIdentity, verify_jwt_svid
from identity.registry import RegistrySnapshot, UsedTokens
from identity.spiffe_id import SpiffeId
from identity.verification import PeerIdentity

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - a type's name
_KNOWN = frozenset({"grant_type", "subject_token", "subject_token_type", "requested_token_type", "may_act"})

Record = Callable[[str, dict[str, Any]], Awaitable[None]]
"""Writes an audit record and returns once it is durable; raises an `IdentityError` if it cannot."""


class ExchangeError(GatewayError):
    """A token is not exchanged. `oauth_error` is the code of RFC 6749, section 5.2."""

    status = 400
    slug = "token-exchange-refused"
    title = "The token is not exchanged"

    def __init__(self, oauth_error: str, rule: str, detail: str) -> None:
        super().__init__(detail, code=rule)
        self.oauth_error = oauth_error


class TokenExchange:
    """Exchanges the tokens of one trust domain."""

    def __init__(
        self,
        config: Delegation,
        *,
        authority: Authority,
        gateway_id: str,
        bundles: Callable[[], Mapping[str, TrustBundle]],
        used: UsedTokens,
        record: Record,
        clock: Clock,
        persons: Persons | None = None,
        audience: str = "",
    ) -> None:
        """Make one.

        Args:
            config: how deep chains may be, and how long their tokens live.
            authority: signs.
            gateway_id: the gateway's own SPIFFE ID.
            bundles: by trust domain, in force now.
            used: remembers tokens that were exchanged.
            record: writes the audit log.
            clock: the time.
            persons: knows people by their ID tokens; None where none are configured.
            audience: name that tokens for calls carry; empty: the gateway's SPIFFE ID.
        """
        self._persons = persons
        self._config = config
        self._authority = authority
        self._audience = audience or gateway_id
        self._domain = SpiffeId.parse(gateway_id).trust_domain.name
        self._exchange = f"{gateway_id}/exchange"
        self._bundles = bundles
        self._used = used
        self._record = record
        self._clock = clock

    async def exchange(self, body: bytes, actor: PeerIdentity, agents: RegistrySnapshot) -> dict[str, Any]:
        """Answer one request of an actor that its certificate proved.

        Args:
            body: the form.
            actor: who asks.
            agents: the inventory.

        Raises:
            ExchangeError: the request or its token is refused.
            UnavailableError: the log, the inventory or the authority does not work.
        """
        form = _form(body)
        if form["subject_token_type"] == ID_TOKEN:
            return await self._act_for_person(form, actor, agents)
        now = self._clock() // NANOSECONDS
        try:
            token = verify_jwt_svid(form["subject_token"], self._bundles(), (self._audience, self._exchange), now)
            chain = chain_of(token.id, token.claims, self._domain)
            if "may_act" in form:
                claims, chain, audience = self._hand_over(token, chain, actor, form["may_act"])
            else:
                claims, chain, audience = self._take_up(token, chain, actor)
            check_standing(actor, token, chain[:-1], agents, self._clock())
        except SvidError as error:
            raise ExchangeError("invalid_grant", error.rule, str(error)) from error
        except IdentityRefusedError as error:
            raise ExchangeError("invalid_grant", error.code, error.detail) from error
        await self._use_up(token)
        return await self._issue(claims, chain, audience, min(token.not_after, actor.not_after), actor, token.jti)

    async def _act_for_person(
        self, form: Mapping[str, str], actor: PeerIdentity, agents: RegistrySnapshot
    ) -> dict[str, Any]:
        """Take up what a person gave to this agent: an ID token is for one audience, and good for one exchange."""
        if self._persons is None or "may_act" in form:
            raise ExchangeError("invalid_request", "subject-token", "ID tokens are not exchanged like this here.")
        try:
            person = await self._persons.verify(form["subject_token"], agents)
            chain = extend((person.id,), actor.id, self._config.max_depth)
            check_standing(actor, None, chain[:-1], agents, self._clock())
        except SvidError as error:
            raise ExchangeError("invalid_grant", error.rule, str(error)) from error
        except IdentityRefusedError as error:
            raise ExchangeError("invalid_grant", error.code, error.detail) from error
        claims = {**act_claim(chain), "cnf": {"x5t#S256": thumbprint(actor)}}
        not_after = min(person.not_after, actor.not_after)
        return await self._issue(claims, chain, self._audience, not_after, actor, person.token_id)

    def _hand_over(
        self, token: JwtIdentity, chain: tuple[str, ...], actor: PeerIdentity, may_act: str
    ) -> tuple[dict[str, Any], tuple[str, ...], str]:
        if chain[-1] != actor.id:
            raise SvidError("delegation-not-holder", f"only {chain[-1]} may hand this token over, not {actor.id}")
        if "may_act" in token.claims:
            raise SvidError("delegation-not-holder", "this token was handed over already; it is to be taken up")
        bound = token.claims.get("cnf")
        if bound is not None and bound != {"x5t#S256": thumbprint(actor)}:
            raise SvidError("jwt-binding", "the token is bound to another certificate than the one presented")
        try:
            to = SpiffeId.parse(may_act)
        except SpiffeIdError as error:
            raise SvidError("delegation-malformed", f"may_act: {error}") from error
        if not to.path:
            raise SvidError("delegation-malformed", f"may_act: {to} names a trust domain; name one of its members")
        extend(chain, str(to), self._config.max_depth)
        return {**act_claim(chain), "may_act": {"sub": str(to)}}, chain, self._exchange

    def _take_up(
        self, token: JwtIdentity, chain: tuple[str, ...], actor: PeerIdentity
    ) -> tuple[dict[str, Any], tuple[str, ...], str]:
        if token.audience != (self._exchange,) or token.claims.get("may_act") != {"sub": actor.id}:
            raise SvidError(
                "delegation-not-granted",
                f"nobody handed this token over to {actor.id}; its holder does that with may_act",
            )
        longer = extend(chain, actor.id, self._config.max_depth)
        return {**act_claim(longer), "cnf": {"x5t#S256": thumbprint(actor)}}, longer, self._audience

    async def _use_up(self, token: JwtIdentity) -> None:
        if not token.jti:
            raise ExchangeError(
                "invalid_grant", "jwt-id-missing", "The token has no id (jti), so it cannot be used up."
            )
        try:
            fresh = await asyncio.to_thread(
                self._used.use, f"exchange {token.trust_domain} {token.jti}", token.not_after
            )
        except RegistryError as error:
            raise UnavailableError(str(error), code="replay_unavailable") from error
        if not fresh:
            raise ExchangeError("invalid_grant", "jwt-replayed", "The token was exchanged before; get a new one.")

    async def _issue(
        self,
        claims: dict[str, Any],
        chain: tuple[str, ...],
        audience: str,
        not_after: int,
        actor: PeerIdentity,
        from_id: str,
    ) -> dict[str, Any]:
        ttl = min(self._config.ttl_seconds, not_after - self._clock() // NANOSECONDS)
        try:
            issued = self._authority.issue_jwt_svid(SpiffeId.parse(chain[0]), (audience,), ttl, claims)
        except IdentityError as error:
            raise ExchangeError("invalid_grant", "delegation-not-issued", str(error)) from error
        handed_to = claims.get("may_act", {}).get("sub", "")
        fields = {
            "principal": actor.id,
            "delegation": list(chain),
            "may_act": handed_to,
            "jti": issued.jti,
            "from_jti": from_id,
            "not_after": issued.expires_at,
            "peer": {"serial": actor.serial, "fingerprint": actor.fingerprint},
        }
        try:
            await self._record("identity.delegated", fields)
        except IdentityError as error:
            raise UnavailableError(str(error), code="audit_unavailable") from error
        return {
            "access_token": issued.token,
            "issued_token_type": JWT,
            "token_type": "N_A" if handed_to else "Bearer",
            "expires_in": issued.expires_at - issued.issued_at,
        }


def _form(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=16)
    except ValueError:
        raise ExchangeError(
            "invalid_request", "form-malformed", "The body is not a form (RFC 6749, appendix B)."
        ) from None
    form = dict(pairs)
    unknown = sorted(set(form) - _KNOWN)
    if len(form) != len(pairs) or unknown:
        what = f"unknown parameters: {', '.join(unknown)}" if unknown else "a parameter is given twice"
        raise ExchangeError(
            "invalid_request", "form-malformed", f"The request has {what}; known: {', '.join(sorted(_KNOWN))}."
        )
    if form.get("grant_type") != GRANT:
        raise ExchangeError("unsupported_grant_type", "grant-type", f"grant_type has to be {GRANT}.")
    if "subject_token" not in form or form.get("subject_token_type") not in {JWT, ID_TOKEN}:
        raise ExchangeError(
            "invalid_request", "subject-token", f"Give subject_token, and subject_token_type {JWT} or {ID_TOKEN}."
        )
    if form.get("requested_token_type", JWT) != JWT:
        raise ExchangeError("invalid_request", "requested-token-type", f"Only {JWT} is issued.")
    return form
