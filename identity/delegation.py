"""Chains of delegation: who acts for whom, as the `act` claim of a token carries it (RFC 8693, section 4.1).

A chain is a tuple of SPIFFE IDs: first the one for whom everything is done, last the one who acts now. Pure functions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from identity.errors import SpiffeIdError, SvidError
from identity.spiffe_id import SpiffeId

LONGEST = 16
"""Most links of a chain that is read at all; what is allowed is configured and lower."""

_MEMBERS = frozenset({"sub", "act"})


def chain_of(subject: str, claims: Mapping[str, Any], own_domain: str) -> tuple[str, ...]:
    """Return the chain of a token: its subject, then the actors of `act`, the innermost first.

    The keys of the subject's trust domain vouch for the whole claim. Another domain may say who of its own members
    acts; who of ours does is not for it to say.

    Args:
        subject: the token's `sub`, a SPIFFE ID.
        claims: its claims.
        own_domain: name of the verifier's trust domain.

    Raises:
        SvidError: `act` is malformed, too deep, names somebody twice, or somebody whom the token's trust domain may
            not vouch for.
    """
    actors: list[str] = []
    act = claims.get("act")
    while act is not None:
        if not isinstance(act, Mapping) or not set(act) <= _MEMBERS or not isinstance(act.get("sub"), str):
            raise SvidError(
                "delegation-malformed", "the claim act is an object with sub, and act for whoever came before"
            )
        if len(actors) >= LONGEST:
            raise SvidError("delegation-too-deep", f"the claim act nests deeper than {LONGEST}")
        actors.append(_member(act["sub"]))
        act = act.get("act")
    chain = (subject, *reversed(actors))
    if len(set(chain)) != len(chain):
        raise SvidError("delegation-cycle", "the chain of delegation names somebody twice")
    domain = _domain(subject)
    if actors and domain != own_domain and any(_domain(actor) != domain for actor in actors):
        raise SvidError(
            "delegation-foreign",
            f"the trust domain {domain} says that somebody of another acts, and vouches for its own members alone; "
            "have the token exchanged here",
        )
    return chain


def extend(chain: Sequence[str], actor: str, max_depth: int) -> tuple[str, ...]:
    """Return the chain with a further actor.

    Args:
        chain: what the subject token carries.
        actor: who is to act, as it proved itself.
        max_depth: most delegations in a chain; 1 lets an agent act for another, and nobody for that agent.

    Raises:
        SvidError: the actor is in the chain already, or the chain would be too deep.
    """
    if actor in chain:
        raise SvidError(
            "delegation-cycle",
            f"{actor} is in the chain already; nobody acts for those who act for them, nor for itself",
        )
    if len(chain) > min(max_depth, LONGEST):
        raise SvidError("delegation-too-deep", f"a chain has at most {max_depth} delegations; this one would have more")
    return (*chain, actor)


def act_claim(chain: Sequence[str]) -> dict[str, Any]:
    """Return the claims that carry a chain beside its subject: none if nobody acts for it."""
    act: dict[str, Any] | None = None
    for actor in chain[1:]:
        act = {"sub": actor} if act is None else {"sub": actor, "act": act}
    return {} if act is None else {"act": act}


def _domain(spiffe_id: str) -> str:
    return spiffe_id.removeprefix("spiffe://").partition("/")[0]


def _member(text: str) -> str:
    try:
        parsed = SpiffeId.parse(text)
    except SpiffeIdError as error:
        raise SvidError("delegation-malformed", f"an actor of the claim act is no SPIFFE ID: {error}") from error
    if not parsed.path:
        raise SvidError("delegation-malformed", f"{parsed} names a trust domain; an actor has a path")
    return str(parsed)
