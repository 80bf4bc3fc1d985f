"""Issues to workloads on other machines, which attested and keep their own keys."""

import asyncio
import json
import ssl
from collections.abc import Sequence
from typing import Any

from cryptography import x509

from identity.attestation.base import Attested
from identity.authority import Authority
from identity.bundle import TrustBundle
from identity.certificate_request import named_ids
from identity.clock import NANOSECONDS, Clock
from identity.entries import Entry, matching
from identity.errors import IdentityError
from identity.issuance import Issued, Record, put_on_record
from identity.registry import AttestedNode, NewSvid, Registry, RegistrySnapshot
from identity.spiffe_id import SpiffeId


class NotGrantedError(IdentityError):
    """What attested is granted no identity."""


class RenewalRefusedError(NotGrantedError):
    """A certificate is not renewed.

    Attributes:
        rule: stable slug of the rule that refused it.
    """

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


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
        return await self._sign(entry, request, attested.spiffe_id, attested.selectors)

    async def renew(self, spiffe_id: str, serial: str, request: x509.CertificateSigningRequest) -> Sequence[bytes]:
        """Return the chain of a new X.509-SVID for who holds one that is in date and came from attestation.

        The new one is what attesting again would give: of the same SPIFFE ID, through the same entry, as long as what
        the node proved still matches that entry.

        Args:
            spiffe_id: of the holder, proved by the certificate of its connection.
            serial: of that certificate (hex).
            request: for the new key.

        Raises:
            RenewalRefusedError: the rule that refuses it.
            IdentityError: nothing can be issued.
        """
        if any(named != spiffe_id for named in named_ids(request)):
            raise RenewalRefusedError("renewal-id", f"{spiffe_id} renews itself alone; name that ID, or none")
        svid, node, snapshot = await asyncio.to_thread(self._held, spiffe_id, serial)
        entry = snapshot.entries.get(svid.entry_id)
        now = self._clock() // NANOSECONDS
        if entry is None or entry.expired(now):
            raise RenewalRefusedError(
                "renewal-entry", "the registration entry of the certificate is gone, revoked or expired"
            )
        if not self._grants(entry, spiffe_id, node):
            raise RenewalRefusedError(
                "renewal-entry", "the registration entry of the certificate has changed and does not grant it any more"
            )
        refusal = _not_standing(snapshot, spiffe_id, serial) or _not_standing_node(snapshot, node.id)
        if refusal:
            raise RenewalRefusedError("renewal-refused", refusal)
        return await self._sign(entry, request, node.id, node.selectors, svid.serial)

    async def _sign(
        self,
        entry: Entry,
        request: x509.CertificateSigningRequest,
        node: str,
        selectors: frozenset[str],
        renewed: str = "",
    ) -> Sequence[bytes]:
        """Sign, and put on record before anybody has it.

        Args:
            entry: that grants it.
            request: for what key.
            node, selectors: what attested, and what it proved.
            renewed: serial of the certificate that is renewed; empty where the node attested just now.
        """
        ttl = entry.x509_ttl_seconds or self._ttl
        issued = self._authority.issue_x509_svid(
            SpiffeId.parse(entry.spiffe_id), request.public_key(), ttl, entry.dns_names
        )
        if not renewed:
            method = node.split("/")[4] if node.count("/") > 4 else "node"
            await asyncio.to_thread(self._registry.nodes.record, node, method, selectors, issued.serial)
        more = {"selectors": sorted(selectors)} | ({"renewed": renewed} if renewed else {})
        signed = Issued(entry, issued.serial, issued.not_after, issued.authority_id, "x509-svid", more)
        await put_on_record([signed], node, self._registry, self._record)
        return issued.chain

    def _held(self, spiffe_id: str, serial: str) -> tuple[NewSvid, AttestedNode, RegistrySnapshot]:
        svid = self._registry.issued(serial)
        if svid is None or svid.spiffe_id != spiffe_id:
            raise RenewalRefusedError("renewal-unknown", "the certificate is not on record here; attest again")
        if not svid.entry_id:
            raise RenewalRefusedError(
                "renewal-by-hand", "the certificate was issued by hand; have another issued, or attest"
            )
        node = next(iter(self._registry.nodes.all(svid.node_id)), None) if svid.node_id else None
        if node is None:
            raise RenewalRefusedError(
                "renewal-not-attested",
                "the certificate came from the Workload API, which renews it; only those of attested nodes are "
                "renewed here",
            )
        return svid, node, self._current()

    def _grants(self, entry: Entry, spiffe_id: str, node: AttestedNode) -> bool:
        """Whether attesting again would find this entry."""
        return (
            entry.spiffe_id == spiffe_id
            and entry.parent_id in {node.id, self._gateway}
            and entry.selectors <= node.selectors
        )

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
                refusal = _not_standing(snapshot, entry.spiffe_id, "")
                if not refusal:
                    return entry
                reason = refusal
        raise NotGrantedError(f"{attested.spiffe_id}, with {', '.join(sorted(attested.selectors))[:1000]}: {reason}")


def handed_out(chain: Sequence[bytes], bundle: TrustBundle) -> dict[str, Any]:
    """Return what a workload gets, as JSON members: the chain in PEM, and the trust bundle."""
    pem = "".join(map(ssl.DER_cert_to_PEM_cert, chain))
    return {"chain": pem, "bundle": json.loads(bundle.to_jwks())}


def _not_standing(snapshot: RegistrySnapshot, spiffe_id: str, serial: str) -> str:
    agent = snapshot.get(spiffe_id)
    if agent is None or agent.status != "active":
        return f"{spiffe_id} is {agent.status if agent else 'not in the inventory'}"
    refusal = snapshot.refusal(spiffe_id, serial)
    return f"{spiffe_id} is refused: {refusal}" if refusal else ""


def _not_standing_node(snapshot: RegistrySnapshot, node: str) -> str:
    refusal = snapshot.refusal(node, "")
    return f"the node {node} is refused: {refusal}" if refusal else ""


def _wanted(request: x509.CertificateSigningRequest) -> str:
    """Return the SPIFFE ID that a request names, or an empty text."""
    named = named_ids(request)
    return named[0] if len(named) == 1 else ""
