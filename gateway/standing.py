"""Whether a caller, and everybody it acts for, may still call: what can change while a connection is open."""

import asyncio
from collections.abc import Sequence

from gateway.clock import NANOSECONDS
from gateway.errors import IdentityRefusedError, UnavailableError
from identity.errors import IdentityError
from identity.jwt_svid import JwtIdentity
from identity.registry import Agent, RegistrySnapshot, UsedTokens
from identity.verification import PeerIdentity


def check_standing(
    peer: PeerIdentity,
    token: JwtIdentity | None,
    delegation: Sequence[str],
    agents: RegistrySnapshot,
    now_ns: int,
) -> tuple[Agent, ...]:
    """Check expiry, registration, state and revocation of every link; return those that the caller acts for.

    Args:
        peer: who acts.
        token: the JWT-SVID that the request carried, if any.
        delegation: for whom it acts.
        agents: the inventory.
        now_ns: UNIX time in nanoseconds.

    Raises:
        IdentityRefusedError: the first link that does not stand, and why.
    """
    if now_ns >= peer.not_after * NANOSECONDS:
        raise IdentityRefusedError(
            f"The {'token' if token else 'certificate'} of {peer.id} has expired.",
            remedy="Fetch a new SVID and connect again.",
            code="leaf-expired" if token is None else "jwt-expired",
        )
    _active(peer.id, agents)
    refusal = agents.refusal(peer.id, peer.serial, peer.authorities)
    if refusal is None and token is not None:
        refusal = agents.refusal(token.id, token.jti, (token.key_id,))
    if refusal is not None:
        raise IdentityRefusedError(
            f"{peer.id} is refused: {refusal}.",
            remedy="Ask its owner; where only its SVID is revoked, fetch a new one and connect again.",
            code="certificate-revoked" if agents.is_revoked(peer.serial) else "identity-revoked",
        )
    if not delegation:
        return ()
    return tuple(_delegator(spiffe_id, agents) for spiffe_id in delegation)


async def use_once(token: JwtIdentity, used: UsedTokens) -> None:
    """Use a token up.

    Raises:
        IdentityRefusedError: it was shown before.
        UnavailableError: that cannot be told.
    """
    try:
        fresh = await asyncio.to_thread(used.use, f"{token.trust_domain} {token.jti}", token.not_after)
    except IdentityError as error:
        raise UnavailableError(str(error), code="replay_unavailable") from error
    if not fresh:
        raise IdentityRefusedError(
            "This token was shown before, and tokens are accepted once here.",
            remedy="Fetch a new JWT-SVID for each call.",
            code="jwt-replayed",
        )


def _active(spiffe_id: str, agents: RegistrySnapshot) -> Agent:
    agent = agents.get(spiffe_id)
    if agent is None:
        raise IdentityRefusedError(
            f"{spiffe_id} is not registered with this gateway.",
            remedy="Ask an operator to run 'govctl agent register'.",
            code="identity-unregistered",
        )
    if agent.status != "active":
        raise IdentityRefusedError(
            f"{spiffe_id} is {agent.status}.",
            remedy=f"Ask its owner, {agent.owner}, about it.",
            code=f"identity-{agent.status}",
        )
    return agent


def _delegator(spiffe_id: str, agents: RegistrySnapshot) -> Agent:
    agent = _active(spiffe_id, agents)
    refusal = agents.refusal(spiffe_id, "", ())
    if refusal is not None:
        raise IdentityRefusedError(
            f"{spiffe_id}, for whom this call is made, is refused: {refusal}.",
            remedy="Ask its owner.",
            code="identity-revoked",
        )
    return agent
