"""The seam of node attestation: what an attestor is, what it finds out, and how often one source may try.

A node shows a payload; an attestor that needs a live proof asks back over a `Challenge`. What comes out is a SPIFFE ID
and selectors. Whoever attests a node then issues it an X.509-SVID for the key of its certificate request.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv6Address, ip_address
from typing import Any, Protocol

from identity.clock import NANOSECONDS, Clock
from identity.errors import IdentityError
from identity.spiffe_id import SpiffeId, SpiffeIdError, TrustDomain

MAX_SELECTOR_BYTES = 1024
"""Longest value taken into a selector (UTF-8 bytes); a longer one is left out."""


class AttestationError(IdentityError):
    """A node did not prove what it is.

    Attributes:
        rule: stable slug of the rule that refused it.
    """

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


class AttestationUnavailableError(AttestationError):
    """Whether the proof holds cannot be told now: a service that must be asked does not answer."""


@dataclass(frozen=True, slots=True)
class Attested:
    """A node that proved itself.

    Attributes:
        spiffe_id: of the node, for instance `spiffe://example.org/node/x509pop/…`.
        selectors: what was found out about it.
        can_reattest: whether the same proof may be given again, so that a node that lost its SVID comes back alone.
    """

    spiffe_id: str
    selectors: frozenset[str]
    can_reattest: bool


class Challenge(Protocol):
    """Asks the node that is being attested.

    Attributes:
        binding: SHA-256 (hex) of the certificate request (DER) that the proof is for; a live proof covers it.
    """

    @property
    def binding(self) -> str: ...

    async def ask(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send `message` and return the answer.

        Raises:
            AttestationError: no answer came in time.
        """
        ...


class NodeAttestor(Protocol):
    """One way to prove what a node is.

    Attributes:
        name: as in `POST /v1/attest/<name>`, and the type of its selectors.
    """

    @property
    def name(self) -> str: ...

    async def attest(self, payload: Mapping[str, Any], challenge: Challenge) -> Attested:
        """Examine what a node shows.

        Raises:
            AttestationError: the rule that refuses it.
            AttestationUnavailableError: it cannot be told now.
        """
        ...


class SourceLimiter:
    """How often each source may try: a token bucket each, kept as one time stamp (GCRA), in bounded memory.

    A source whose bucket is full again is forgotten. When the memory is full of sources that are not, new sources are
    refused until some are: nobody gets a fresh bucket by making others forgotten.
    """

    def __init__(self, clock: Clock, *, per_minute: int = 30, burst: int = 10, capacity: int = 10_000) -> None:
        """Make one.

        Args:
            clock: the time.
            per_minute: tries a minute in the long run, at least 1.
            burst: tries at once, at least 1.
            capacity: sources remembered, at least 1.
        """
        if min(per_minute, burst, capacity) < 1:
            raise ValueError("per_minute, burst and capacity are at least 1")
        self._clock = clock
        self._interval = 60 * NANOSECONDS // per_minute
        self._depth = self._interval * (burst - 1)
        self._capacity = capacity
        self._full_at: dict[str, int] = {}
        self._swept = 0

    def __len__(self) -> int:
        return len(self._full_at)

    def wait(self, source: str) -> int:
        """Count a try; return 0 if it may go on, else the seconds until the next may. A refused try costs nothing."""
        now = self._clock()
        known = self._full_at.get(source, 0)
        ahead = known - now
        if ahead > self._depth:
            return -(-(ahead - self._depth) // NANOSECONDS)
        if not known and len(self._full_at) >= self._capacity and not self._forget(now):
            return -(-self._interval // NANOSECONDS)
        self._full_at[source] = max(known, now) + self._interval
        return 0

    def _forget(self, now: int) -> bool:
        if now - self._swept >= NANOSECONDS or now < self._swept:
            self._swept = now
            self._full_at = {source: at for source, at in self._full_at.items() if at > now}
        return len(self._full_at) < self._capacity


def source_of(address: str) -> str:
    """Return what is limited for an IP address: itself, or for IPv6 its /64, which one host has all of."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(parsed, IPv6Address):
        mapped = parsed.ipv4_mapped
        return str(mapped) if mapped is not None else f"{IPv6Address(int(parsed) >> 64 << 64)}/64"
    return str(parsed)


def node_id(trust_domain: str, method: str, *segments: str) -> str:
    """Return the SPIFFE ID of a node: `spiffe://<trust domain>/node/<method>/<segments>`.

    A segment with characters that a path does not take is replaced by its SHA-256 (hex).

    Raises:
        SpiffeIdError: the trust domain is not one.
    """
    domain = TrustDomain(trust_domain)
    return str(domain.id(f"/node/{method}/" + "/".join(map(_segment, segments))))


def selector_value(value: str) -> str | None:
    """Return a value if it may stand in a selector, else None: printable, without spaces at its ends, bounded."""
    if not value or not value.isprintable() or value != value.strip():
        return None
    return value if len(value.encode(errors="replace")) <= MAX_SELECTOR_BYTES else None


def text_member(payload: Mapping[str, Any], name: str, limit: int) -> str:
    """Return a text of the payload.

    Raises:
        AttestationError: it is missing, not a text, empty, or has more than `limit` characters.
    """
    value = payload.get(name)
    if not isinstance(value, str) or not value:
        raise AttestationError("payload-malformed", f"the payload needs the member {name!r}, a text")
    if len(value) > limit:
        raise AttestationError("payload-malformed", f"{name!r} in the payload has more than {limit} characters")
    return value


def _segment(text: str) -> str:
    try:
        SpiffeId(TrustDomain("x"), f"/{text}")
    except SpiffeIdError:
        return sha256(text.encode()).hexdigest()
    return text if "/" not in text and len(text) <= 128 else sha256(text.encode()).hexdigest()
