"""Whether the gateway hears an identity at all: what is checked before the policies are asked."""

from gateway.clock import NANOSECONDS
from gateway.errors import IdentityRefusedError
from gateway.standing import check_standing
from identity.registry import RegistrySnapshot
from identity.spiffe_id import SpiffeId
from identity.verification import PeerIdentity

_NEVER = 2**62


def refusal(spiffe_id: str, agents: RegistrySnapshot, now: int) -> IdentityRefusedError | None:
    """Return why the gateway refuses an identity whose certificate is in date and not revoked by itself, or None.

    Args:
        spiffe_id: the identity.
        agents: the inventory.
        now: the moment (UNIX seconds).

    Raises:
        identity.spiffe_id.SpiffeIdError: not a SPIFFE ID.
    """
    parsed = SpiffeId.parse(spiffe_id)
    peer = PeerIdentity(spiffe_id, parsed.trust_domain.name, parsed.path, "", "", 0, _NEVER)
    try:
        check_standing(peer, None, (), agents, now * NANOSECONDS)
    except IdentityRefusedError as error:
        return error
    return None
