"""What workloads are given: the SVIDs and bundles that their registration entries grant, kept fresh, each on record.

One X.509-SVID is held for each entry that somebody asked for, and shared by all workloads that match it; it is renewed
at half its life, and at once when its authority is tainted. Nothing is issued for an identity that the inventory does
not know as active. Nothing is handed out before inventory and audit log have it.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from identity.authority import Authority
from identity.bundle import TrustBundle
from identity.clock import NANOSECONDS, Clock
from identity.entries import Entry, EntryIndex, matching
from identity.errors import IdentityError, RegistryError
from identity.issuance import Issued, Record, put_on_record
from identity.jwt_svid import JwtIdentity, verify_jwt_svid
from identity.registry import Registry, RegistrySnapshot
from identity.spiffe_id import SpiffeId
from identity.workload_api.source import JwtSvid, NoIdentityError, X509Context, X509Svid

DEFAULT_X509_TTL_SECONDS = 3600
DEFAULT_JWT_TTL_SECONDS = 300
CACHED_TOKENS = 10_000
"""JWT-SVIDs kept for being asked for again."""

RETRY_SECONDS = 5
"""After a renewal that failed (seconds)."""

BATCH = 100
"""SVIDs renewed together."""

FAILURES = 3
"""Renewals that fail, one by one, before it is plain that what all of them need does not work."""

Selectors = frozenset[str]


@dataclass(slots=True)
class _Held:
    """One entry's X.509-SVID."""

    entry: Entry
    svid: X509Svid
    serial: str
    authority_id: str
    renew_at: int
    retry_at: int = 0


@dataclass(frozen=True, slots=True)
class _Token:
    """A JWT-SVID kept for being asked for again."""

    svid: JwtSvid
    key_id: str
    renew_at: int


class Issuer:
    """Serves the workloads of one parent: this machine's, or those behind one attested node.

    A `WorkloadSource` for the Workload API and SDS. Belongs to one event loop.
    """

    def __init__(
        self,
        *,
        authority: Authority,
        registry: Registry,
        parent_id: str,
        federated: Callable[[], Mapping[str, TrustBundle]],
        record: Record,
        clock: Clock,
        x509_ttl_seconds: int = DEFAULT_X509_TTL_SECONDS,
        jwt_ttl_seconds: int = DEFAULT_JWT_TTL_SECONDS,
        jwt_issuer: str = "",
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Make one.

        Args:
            authority: signs.
            registry: knows entries and identities, and is told of each SVID.
            parent_id: SPIFFE ID that the entries to serve have as parent.
            federated: bundles of the other trust domains, by name, as they are now.
            record: writes the audit log.
            clock: the time.
            x509_ttl_seconds, jwt_ttl_seconds: lifetimes where the entry has none of its own.
            jwt_issuer: `iss` of JWT-SVIDs, for verifiers that know them by OIDC discovery; empty for none.
            jitter: draws from a range.
        """
        self._authority = authority
        self._registry = registry
        self._parent = parent_id
        self._federated = federated
        self._record = record
        self._clock = clock
        self._x509_ttl = x509_ttl_seconds
        self._jwt_ttl = jwt_ttl_seconds
        self._jwt_claims = {"iss": jwt_issuer} if jwt_issuer else {}
        self._jitter = jitter
        self._snapshot: RegistrySnapshot | None = None
        self._held: dict[str, _Held] = {}
        self._tokens: dict[tuple[str, tuple[str, ...]], _Token] = {}
        self._making: dict[str, asyncio.Lock] = {}
        self._next_expiry = 0
        self._change = 1
        self._everywhere = 1
        self._rotated: dict[str, int] = {}
        self._waiting: dict[Selectors, set[asyncio.Future[None]]] = {}

    # what a WorkloadSource offers

    @property
    def ready(self) -> bool:
        """Whether the inventory was read."""
        return self._snapshot is not None

    async def x509_context(self, selectors: Selectors) -> X509Context:
        """Return what a workload may hold now.

        Raises:
            NoIdentityError: no entry grants it anything.
            IdentityError: nothing can be issued.
        """
        while True:
            snapshot, entries = self._snapshot, self._granted(selectors)
            svids = tuple([(await self._svid(entry)).svid for entry in entries])
            if self._snapshot is snapshot:  # or somebody may have been suspended, or an entry changed, in between
                return X509Context(svids, self._authority.bundle(), self._federated_with(entries))

    def bundles(self, selectors: Selectors) -> Mapping[str, TrustBundle]:
        """Return the own bundle and the federated ones that the workload's entries name, by trust domain.

        Raises:
            NoIdentityError: no entry grants it anything.
        """
        own = self._authority.bundle()
        return {own.trust_domain: own, **self._federated_with(self._granted(selectors))}

    async def jwt_svids(
        self, selectors: Selectors, audience: Sequence[str], spiffe_id: str | None
    ) -> Sequence[JwtSvid]:
        """Return a JWT-SVID for each identity of the workload, or for the one asked for.

        Raises:
            NoIdentityError: no entry grants it.
            IdentityError: nothing can be issued.
        """
        while True:
            snapshot = self._snapshot
            entries = [entry for entry in self._granted(selectors) if spiffe_id in {None, entry.spiffe_id}]
            if not entries:
                raise NoIdentityError(f"no registration entry grants {spiffe_id} to this workload")
            svids = [await self._token(entry, tuple(audience)) for entry in entries]
            if self._snapshot is snapshot:
                return svids

    def validate_jwt_svid(self, selectors: Selectors, audience: str, token: str) -> JwtIdentity:
        """Verify a token that somebody showed to the workload.

        Raises:
            NoIdentityError: no entry grants the workload anything.
            SvidError: the token is refused.
        """
        return verify_jwt_svid(token, self.bundles(selectors), audience, self._now())

    def version(self, selectors: Selectors) -> int:
        """Return a number that rises whenever what these selectors may see changes."""
        try:
            entries = self._granted(selectors)
        except NoIdentityError:
            return self._everywhere
        return max([self._everywhere, *(self._rotated.get(entry.entry_id, 0) for entry in entries)])

    async def changed(self, selectors: Selectors, version: int) -> int:
        """Wait until `version(selectors)` is another than `version`, and return it."""
        loop = asyncio.get_running_loop()
        while (current := self.version(selectors)) == version:
            waiter = loop.create_future()
            self._waiting.setdefault(selectors, set()).add(waiter)
            try:
                await waiter
            finally:
                others = self._waiting[selectors]
                others.discard(waiter)
                if not others:
                    del self._waiting[selectors]
        return current

    # what keeps it fresh

    async def tick(self) -> None:
        """Take in what changed and renew what is due. Call about twice a second.

        Raises:
            IdentityError: the inventory cannot be read, or something could not be renewed and will be tried again.
                What is held stays served.
        """
        self._look()
        now, tainted = self._now(), self._authority.tainted()
        due = [
            held
            for held in self._held.values()
            if now >= held.retry_at and (now >= held.renew_at or held.authority_id in tainted)
        ]
        if not due:
            return
        there, groups = set(self._waiting), self._groups()
        wanted = []
        for held in due:
            if held.entry.entry_id in groups:
                wanted.append(held)
            else:
                del self._held[held.entry.entry_id]
                self._bump(held.entry)  # a stream may be about to wait with what was held
        wanted.sort(key=lambda held: held.retry_at)  # what failed before must not keep the others waiting
        failures: list[IdentityError] = []
        for start in range(0, len(wanted), BATCH):
            await self._renew(wanted[start : start + BATCH], groups, failures)
        for selectors in self._waiting.keys() - there:  # who came to wait meanwhile is in no group
            _wake(self._waiting[selectors])
        if failures:
            raise failures[0]

    def bundles_changed(self) -> None:
        """Tell everybody that a bundle, the own or a federated one, is another now."""
        self._bump_all()

    def _look(self) -> None:
        snapshot = self._snapshot
        if snapshot is None or self._registry.generation() != snapshot.generation:
            self._snapshot = self._registry.snapshot()
            self._tokens.clear()
            there = self._snapshot.entries
            self._rotated = {key: value for key, value in self._rotated.items() if there.get(key)}
            self._making = {key: lock for key, lock in self._making.items() if lock.locked() or there.get(key)}
            for entry_id, held in list(self._held.items()):
                current = self._snapshot.entries.get(entry_id)
                if current != held.entry or self._snapshot.is_revoked(held.serial):
                    del self._held[entry_id]
            self._next_expiry = self._earliest_expiry()
            self._bump_all()
        elif self._next_expiry and self._now() >= self._next_expiry:
            self._next_expiry = self._earliest_expiry()
            self._bump_all()

    def _earliest_expiry(self) -> int:
        assert self._snapshot is not None  # noqa: S101 - set by the caller
        now = self._now()
        return min((entry.expires_at for entry in self._snapshot.entries if entry.expires_at > now), default=0)

    def _bump(self, entry: Entry) -> None:
        self._change += 1
        self._rotated[entry.entry_id] = self._change

    def _bump_all(self) -> None:
        self._change += 1
        self._everywhere = self._change
        for waiters in self._waiting.values():
            _wake(waiters)

    def _groups(self) -> dict[str, list[Selectors]]:
        """Return the selectors that wait for each entry."""
        groups: dict[str, list[Selectors]] = {}
        for selectors in self._waiting:
            for entry in self._granted_or_none(selectors):
                groups.setdefault(entry.entry_id, []).append(selectors)
        return groups

    # what is granted and issued

    def _granted(self, selectors: Selectors) -> tuple[Entry, ...]:
        snapshot = self._snapshot
        if snapshot is None:
            raise RegistryError("the inventory was not read yet; try again in a moment")
        entries = matching(snapshot.entries, self._parent, selectors, self._now())
        if not entries:
            raise NoIdentityError("no registration entry matches this workload; see: govctl entry create")
        granted = tuple(entry for entry in entries if _stands(snapshot, entry.spiffe_id))
        if not granted:
            agent = snapshot.get(entries[0].spiffe_id)
            state = agent.status if agent is not None else "not in the inventory"
            raise NoIdentityError(f"{entries[0].spiffe_id} is {state}; see: govctl agent show {entries[0].spiffe_id}")
        return granted

    def _granted_or_none(self, selectors: Selectors) -> tuple[Entry, ...]:
        try:
            return self._granted(selectors)
        except IdentityError:
            return ()

    def _federated_with(self, entries: Sequence[Entry]) -> dict[str, TrustBundle]:
        names = {name for entry in entries for name in entry.federates_with}
        return {name: bundle for name, bundle in self._federated().items() if name in names}

    async def _svid(self, entry: Entry) -> _Held:
        held = self._in_force(entry)
        if held is not None:
            return held
        async with self._making.setdefault(entry.entry_id, asyncio.Lock()):
            return self._in_force(entry) or (await self._make([entry]))[0]

    def _in_force(self, entry: Entry) -> _Held | None:
        held, snapshot = self._held.get(entry.entry_id), self._snapshot
        if held is None or snapshot is None or held.entry != entry or held.svid.not_after <= self._now():
            return None
        return None if snapshot.is_revoked(held.serial) else held

    async def _renew(
        self, batch: Sequence[_Held], groups: Mapping[str, Sequence[Selectors]], failures: list[IdentityError]
    ) -> None:
        """Replace SVIDs together: one transaction, one wait for the audit log. What fails is tried again soon."""
        if len(failures) >= FAILURES:
            _later(batch, self._now() + RETRY_SECONDS)
            return
        try:
            fresh = await self._make([held.entry for held in batch])
        except IdentityError as error:
            if len(batch) > 1:  # one that may not be issued any more must not keep the others from it
                for held in batch:
                    await self._renew([held], groups, failures)
            else:
                _later(batch, self._now() + RETRY_SECONDS + 1)
                failures.append(error)
            return
        for held in fresh:
            self._bump(held.entry)
            for selectors in groups[held.entry.entry_id]:
                _wake(self._waiting.get(selectors, set()))

    async def _make(self, entries: Sequence[Entry]) -> list[_Held]:
        made = []
        for entry in entries:
            key = ec.generate_private_key(ec.SECP256R1())
            ttl = entry.x509_ttl_seconds or self._x509_ttl
            issued = self._authority.issue_x509_svid(
                SpiffeId.parse(entry.spiffe_id), key.public_key(), ttl, entry.dns_names
            )
            der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            now = self._now()
            half = (issued.not_after - now) / 2
            svid = X509Svid(entry.spiffe_id, issued.chain, der, entry.hint, issued.not_after)
            renew_at = now + int(half * self._jitter(0.9, 1.1))
            made.append(_Held(entry, svid, issued.serial, issued.authority_id, renew_at))
        notes = [Issued(h.entry, h.serial, h.svid.not_after, h.authority_id, "x509-svid", {}) for h in made]
        await self._put_on_record(notes)
        there = self._snapshot.entries if self._snapshot is not None else EntryIndex()
        self._held.update({h.entry.entry_id: h for h in made if there.get(h.entry.entry_id) == h.entry})
        return made

    async def _token(self, entry: Entry, audience: tuple[str, ...]) -> JwtSvid:
        now, snapshot = self._now(), self._snapshot
        known = self._tokens.get((entry.entry_id, audience))
        if known is not None and now < known.renew_at and known.key_id not in self._authority.tainted():
            return known.svid
        ttl = entry.jwt_ttl_seconds or self._jwt_ttl
        issued = self._authority.issue_jwt_svid(SpiffeId.parse(entry.spiffe_id), audience, ttl, self._jwt_claims)
        more = {"audience": list(audience)}
        await self._put_on_record([Issued(entry, issued.jti, issued.expires_at, issued.key_id, "jwt-svid", more)])
        svid = JwtSvid(entry.spiffe_id, issued.token, entry.hint)
        if self._snapshot is snapshot:
            if len(self._tokens) >= CACHED_TOKENS:
                self._tokens.clear()
            half = now + (issued.expires_at - now) // 2
            self._tokens[entry.entry_id, audience] = _Token(svid, issued.key_id, half)
        return svid

    async def _put_on_record(self, issued: Sequence[Issued]) -> None:
        await put_on_record(issued, self._parent, self._registry, self._record)

    def _now(self) -> int:
        return self._clock() // NANOSECONDS


def _stands(snapshot: RegistrySnapshot, spiffe_id: str) -> bool:
    agent = snapshot.get(spiffe_id)
    return agent is not None and agent.status == "active" and snapshot.refusal(spiffe_id, "") is None


def _later(batch: Sequence[_Held], retry_at: int) -> None:
    for held in batch:
        held.retry_at = retry_at


def _wake(waiters: set[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
