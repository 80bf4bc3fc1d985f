"""Attests a node by a join token: a secret that lets one node in, once, within a short time."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Protocol

from identity.attestation.base import (
    AttestationError,
    AttestationUnavailableError,
    Attested,
    Challenge,
    text_member,
)
from identity.errors import RegistryError

_TOKEN = re.compile(r"[A-Za-z0-9_-]{22,512}", re.ASCII)
"""22 characters of base64url hold 128 bits."""


class JoinTokenStore(Protocol):
    """Keeps join tokens; `identity.registry.Registry.join_tokens` is one."""

    def use(self, token: str) -> str:
        """Use a token up and return the SPIFFE ID of its node. Of several uses at once, exactly one succeeds.

        Raises:
            RegistryError: unknown, used before, expired, or its node is revoked. With a cause (`__cause__`) where the
                store cannot be used.
        """
        ...


class JoinTokenAttestor:
    """Takes `{"token": …}`."""

    name = "join_token"

    def __init__(self, trust_domain: str, tokens: JoinTokenStore) -> None:
        self._trust_domain = trust_domain
        self._tokens = tokens

    async def attest(self, payload: Mapping[str, Any], challenge: Challenge) -> Attested:  # noqa: ARG002 - the seam
        """See `NodeAttestor.attest`. The token is used up, whatever happens next."""
        token = text_member(payload, "token", 512)
        if not _TOKEN.fullmatch(token):
            raise AttestationError("join-token-malformed", "that is no join token; make one with: govctl token create")
        try:
            node = await asyncio.to_thread(self._tokens.use, token)
        except RegistryError as error:
            if error.__cause__ is not None:
                raise AttestationUnavailableError(
                    "join-tokens-unavailable", "join tokens cannot be looked up now; the gateway's log has the cause"
                ) from error
            raise AttestationError("join-token-refused", str(error)) from error
        if not node.startswith(f"spiffe://{self._trust_domain}/"):
            raise AttestationError(
                "join-token-domain", f"the join token is for {node}, which is not of {self._trust_domain}"
            )
        return Attested(node, frozenset({f"join_token:id:{node}"}), False)
