"""Registration entries: which workload, told by its selectors, is issued which SPIFFE ID.

An entry matches a workload if it hangs under the parent that vouches for it, has not expired, and every one of its
selectors is among those of the workload.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from identity.errors import EntryError, SpiffeIdError
from identity.selectors import check_selector
from identity.spiffe_id import SpiffeId, TrustDomain

MAX_SELECTORS = 64
MAX_DNS_NAMES = 64
MAX_HINT_BYTES = 1024
X509_TTL_SECONDS = (60, 86_400)
"""Shortest and longest lifetime of an X.509-SVID that an entry may ask for."""
JWT_TTL_SECONDS = (30, 3_600)
"""Shortest and longest lifetime of a JWT-SVID that an entry may ask for."""

_DNS_LABEL = re.compile("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LARGEST_TIME = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Entry:
    """A registration entry, with the fields that SPIRE gives it.

    Attributes:
        entry_id: UUID.
        spiffe_id: what the workload is issued.
        parent_id: SPIFFE ID of the attested node, or of the gateway for the Workload API of its own machine.
        selectors: `type:value`; all must match, never empty.
        x509_ttl_seconds: lifetime of its X.509-SVIDs; 0 is the authority's default.
        jwt_ttl_seconds: lifetime of its JWT-SVIDs; 0 is the authority's default.
        federates_with: foreign trust domains whose bundles the workload gets.
        dns_names: DNS names of its X.509-SVIDs; the order is kept.
        hint: tells several SVIDs of one workload apart.
        admin: the workload may manage entries.
        downstream: the workload may have an intermediate authority of its own.
        expires_at: UNIX seconds from which it matches no more; 0 is never.
        revision: rises with each change.
        created_at: UNIX seconds.
    """

    entry_id: str
    spiffe_id: str
    parent_id: str
    selectors: frozenset[str]
    x509_ttl_seconds: int = 0
    jwt_ttl_seconds: int = 0
    federates_with: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    hint: str = ""
    admin: bool = False
    downstream: bool = False
    expires_at: int = 0
    revision: int = 0
    created_at: int = 0

    def expired(self, now: int) -> bool:
        """Whether it matches no more at `now` (UNIX seconds)."""
        return self.expires_at != 0 and now >= self.expires_at


class EntryIndex:
    """Entries found by selector. Immutable.

    Each entry is filed once, under the rarest of its selectors among its siblings, so that a look-up opens one small
    drawer for each selector of the workload, however many entries there are.
    """

    __slots__ = ("_by_id", "_drawers")

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._by_id: Mapping[str, Entry] = MappingProxyType({entry.entry_id: entry for entry in entries})
        frequency: dict[str, Counter[str]] = {}
        for entry in self._by_id.values():
            frequency.setdefault(entry.parent_id, Counter()).update(entry.selectors)
        self._drawers: dict[str, dict[str, list[Entry]]] = {}
        for entry in self._by_id.values():
            if not entry.selectors:
                raise EntryError(f"the entry {entry.entry_id} has no selectors; it would match every workload")
            counts = frequency[entry.parent_id]
            rarest = min(entry.selectors, key=lambda selector: (counts[selector], selector))
            self._drawers.setdefault(entry.parent_id, {}).setdefault(rarest, []).append(entry)

    def get(self, entry_id: str) -> Entry | None:
        """Return the entry, or None."""
        return self._by_id.get(entry_id)

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._by_id.values())

    def candidates(self, parent_id: str, selectors: Collection[str]) -> Iterable[Entry]:
        """Return the entries under `parent_id` that are filed under one of the selectors, each once."""
        drawers = self._drawers.get(parent_id)
        if drawers is None:
            return ()
        return [entry for selector in frozenset(selectors) for entry in drawers.get(selector, ())]


def matching(index: EntryIndex, parent_id: str, selectors: Collection[str], now: int) -> tuple[Entry, ...]:
    """Return the entries that match a workload, oldest first (by creation, then entry id).

    Args:
        index: the entries.
        parent_id: SPIFFE ID of the node, or gateway, that attested the workload.
        selectors: what is known of the workload.
        now: UNIX seconds.
    """
    held = frozenset(selectors)
    found = [entry for entry in index.candidates(parent_id, held) if entry.selectors <= held and not entry.expired(now)]
    found.sort(key=lambda entry: (entry.created_at, entry.entry_id))
    return tuple(found)


def validate(entry: Entry, trust_domain: str) -> Entry:
    """Return the entry in canonical form.

    Raises:
        EntryError: the first field that is not allowed, and what is.
    """
    spiffe_id = _own_id("spiffe_id", entry.spiffe_id, trust_domain)
    parent_id = _own_id("parent_id", entry.parent_id, trust_domain)
    if spiffe_id == parent_id:
        raise EntryError(f"spiffe_id: {spiffe_id} cannot be its own parent")
    if not entry.selectors:
        raise EntryError("selectors: an entry without selectors would match every workload; name at least one")
    if len(entry.selectors) > MAX_SELECTORS:
        raise EntryError(f"selectors: an entry has at most {MAX_SELECTORS}, this one has {len(entry.selectors)}")
    for selector in sorted(entry.selectors):
        check_selector(selector)
    _ttl("x509_ttl_seconds", entry.x509_ttl_seconds, X509_TTL_SECONDS)
    _ttl("jwt_ttl_seconds", entry.jwt_ttl_seconds, JWT_TTL_SECONDS)
    if len(entry.hint.encode()) > MAX_HINT_BYTES or not entry.hint.isprintable():
        raise EntryError(f"hint: use at most {MAX_HINT_BYTES} bytes of printable text")
    if not 0 <= entry.expires_at <= _LARGEST_TIME:
        raise EntryError("expires_at: give UNIX seconds, or 0 for never")
    return replace(
        entry,
        spiffe_id=spiffe_id,
        parent_id=parent_id,
        federates_with=_foreign_domains(entry.federates_with, trust_domain),
        dns_names=_dns_names(entry.dns_names),
    )


def _own_id(name: str, text: str, trust_domain: str) -> str:
    try:
        parsed = SpiffeId.parse(text)
    except SpiffeIdError as error:
        raise EntryError(f"{name}: {error}") from error
    if parsed.trust_domain.name != trust_domain:
        raise EntryError(
            f"{name}: {parsed} is of the trust domain {parsed.trust_domain}; entries are of the own one, {trust_domain}"
        )
    if not parsed.path:
        raise EntryError(f"{name}: {parsed} names the trust domain; add a path, for instance {parsed}/agent/name")
    return str(parsed)


def _ttl(name: str, value: int, bounds: tuple[int, int]) -> None:
    if value != 0 and not bounds[0] <= value <= bounds[1]:
        raise EntryError(
            f"{name}: {value} seconds are out of bounds; use {bounds[0]} to {bounds[1]}, or 0 for the default"
        )


def _foreign_domains(names: Iterable[str], trust_domain: str) -> tuple[str, ...]:
    found = set()
    for name in names:
        try:
            found.add(TrustDomain(name.removeprefix("spiffe://").lower()).name)
        except SpiffeIdError as error:
            raise EntryError(f"federates_with: {error}") from error
    if trust_domain in found:
        raise EntryError(f"federates_with: {trust_domain} is the own trust domain; its bundle is always given")
    return tuple(sorted(found))


def _dns_names(names: Collection[str]) -> tuple[str, ...]:
    if len(names) > MAX_DNS_NAMES:
        raise EntryError(f"dns_names: an entry has at most {MAX_DNS_NAMES}, this one has {len(names)}")
    canonical = dict.fromkeys(name.lower() for name in names)
    for name in canonical:
        if len(name) > 253 or not all(_DNS_LABEL.fullmatch(label) for label in name.split(".")):
            raise EntryError(f"dns_names: {name!r} is not a DNS name; use labels of a-z, 0-9 and '-' between dots")
    return tuple(canonical)
