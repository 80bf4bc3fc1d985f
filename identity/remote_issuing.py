"""Issues to workloads on other machines, which attested and keep their own keys."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from cryptography import x509

from identity.attestation.base import Attested
from identity.authority import Authority
from identity.clock import NANOSECONDS, Clock
from identity.entries import Entry, matching
from identity.errors import IdentityError
from identity.registry import Registry, RegistrySnapshot
from identity.spiffe_id import SpiffeId

Record = Callable[[str, dict[str, Any]], Awaitable[None]]
"""Writes an audit record and returns once it is durable; raises an `IdentityError` if it cannot."""


class NotGrantedError(IdentityError):
    """What attested is granted no identity."""


class RemoteIssuer:
    """Signs the requests of attested workloads.

    A workload gets the identity of an entry whose selectors it has, under its own node's SPIFFE ID or under that of
    the gateway, as if it ran on the gateway's machine; the request may name one of several as its URI.
    """

    def __init__(
        self,
        *,
        authority: Authority,
        registry: Registry,
        gateway_id: str,
        record: Record,
        clock: Clock,
        ttl_seconds: int,
    ) -> None:
        """Args: ttl_seconds: lifetime where the entry has none of its own."""
        self._authority = authority
        self._registry = registry
        self._gateway = gateway_id
        self._record = record
        self._clock = clock
        self._ttl = ttl_seconds
        self._snapshot: RegistrySnapshot | None = None

    async def issue(self, attested: Attested, request: x509.CertificateSigningRequest) -> Sequence[bytes]:
        """Return the chain of a new X.509-SVID (DER, leaf first).

        Raises:
            NotGrantedError: no entry grants it anything, or not what it asks for.
            IdentityError: nothing can be issued.
        """
        snapshot = await asyncio.to_thread(self._current)
        entry = self._choose(snapshot, attested, _wanted(request))
        ttl = entry.x509_ttl_seconds or self._ttl
        issued = self._authority.issue_x509_svid(
            SpiffeId.parse(entry.spiffe_id), request.public_key(), ttl, entry.dns_names
        )
        node = attested.spiffe_id
        method = node.split("/")[4] if node.count("/") > 4 else "node"
        await asyncio.to_thread(self._registry.nodes.record, node, method, attested.selectors, issued.serial)
        await asyncio.to_thread(
            self._registry.record_svid,
            issued.serial,
            entry.spiffe_id,
            issued.not_after,
            entry_id=entry.entry_id,
            node_id=node,
            authority_id=issued.authority_id,
        )
        await self._record(
            "identity.issued",
            {
                "agent": entry.spiffe_id,
                "svid": "x509-svid",
                "serial": issued.serial,
                "not_after": issued.not_after,
                "entry": entry.entry_id,
                "parent": node,
                "selectors": sorted(attested.selectors),
                "authority": issued.authority_id,
            },
        )
        return issued.chain

    def _current(self) -> RegistrySnapshot:
        if self._snapshot is None or self._registry.generation() != self._snapshot.generation:
            self._snapshot = self._registry.snapshot()
        return self._snapshot

    def _choose(self, snapshot: RegistrySnapshot, attested: Attested, wanted: str) -> Entry:
        now = self._clock() // NANOSECONDS
        reason = "no registration entry matches; see: govctl entry create"
        for parent in (attested.spiffe_id, self._gateway):
            for entry in matching(snapshot.entries, parent, attested.selectors, now):
                if wanted and entry.spiffe_id != wanted:
                    reason = f"no registration entry grants {wanted}"
                    continue
                agent = snapshot.get(entry.spiffe_id)
                if agent is not None and agent.status == "active" and snapshot.refusal(entry.spiffe_id, "") is None:
                    return entry
                reason = f"{entry.spiffe_id} is {agent.status if agent else 'not in the inventory'}, or revoked"
        raise NotGrantedError(f"{attested.spiffe_id}, with {', '.join(sorted(attested.selectors))[:1000]}: {reason}")


def _wanted(request: x509.CertificateSigningRequest) -> str:
    """Return the SPIFFE ID that a request names, or an empty text."""
    try:
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return ""
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return str(uris[0]) if len(uris) == 1 else ""
