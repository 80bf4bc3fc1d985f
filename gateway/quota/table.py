"""The ledger's file: a header, a table of counters and a table of leases, mapped into every worker.

Header: magic, sizes, a dirty flag, the latest time seen, the free list of leases, the machine's boot.
Counter: 32-byte SHA-256 of the limit's key, TAT (ns), day number, used, held.
Lease: id, expiry (ns), next free lease, number of holds, then its holds (counter, kind, amount).

The file outlives the processes (the kernel writes it back), so a restart goes on with the same counts. After a power
cut the last half minute of counts may be missing, and pages of different age may lie side by side: the first to open
the file after a boot therefore recounts what is held from the leases, as the next one does after a process died in
the middle of an update. Charges are written before the lease that covers them is freed, so that a death in between
holds too much until the lease expires, never too little.
"""

import mmap
import os
import struct
from collections.abc import Sequence
from contextlib import ExitStack
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Literal

from gateway.errors import ConfigError, UnavailableError
from gateway.quota.locking import free_lock, take_lock

MAGIC = b"GGQUOTA2"
HOLDS = 16
"""Limits that one call can be held in: five entries of the policy data with a hold in each of their kinds."""

LEASES = 16_384
"""Calls that can be under way at once."""

CLOCK_BEHIND_SECONDS = 300
"""How far the clock may lie behind the latest time seen before calls are refused (seconds)."""

_PROBES = 64

Mode = Literal["shared", "alone", "read"]

HEADER = struct.Struct("=8sIIIIqIIqq16s")  # magic, slots, leases, dirty, -, now, free, high, next id, sweep, boot
COUNTER = struct.Struct("=qqqq")  # tat, day, used, held
LEASE = struct.Struct("=qqII")  # id, expires, next free, holds
HOLD = struct.Struct("=IIq")  # counter, kind, amount
_HOLDS = tuple(struct.Struct("=" + "IIq" * count) for count in range(HOLDS + 1))
_I64 = struct.Struct("=q")
_U32 = struct.Struct("=I")

HEADER_BYTES = 128
COUNTER_BYTES = 32 + COUNTER.size
LEASE_BYTES = LEASE.size + HOLDS * HOLD.size
NONE = 0xFFFFFFFF

_DIRTY, _NOW, _FREE, _HIGH, _NEXT_ID, _SWEEP, _BOOT = 16, 24, 32, 36, 40, 48, 56

KIND_HELD_USED = 1
"""A hold that becomes use (tokens)."""
KIND_HELD = 2
"""A hold that only counts while it lasts (concurrency)."""


class LedgerTable:
    """The mapped file. Every method but `lock` and `peek` is called under the lock."""

    def __init__(self, path: Path, slots: int, mode: Mode = "shared") -> None:
        """Open the file, making it if there is none.

        Args:
            path: the file.
            slots: counters it has room for.
            mode: `shared` with other processes; `alone` keeps the lock for good, which saves four system calls a
                request; `read` looks and takes no lock.

        Raises:
            ConfigError: the file cannot be used.
            UnavailableError: another process counts in it and does not share.
        """
        self.slots = slots
        self._path = path
        self._alone = mode == "alone"
        self._leases_at = HEADER_BYTES + slots * COUNTER_BYTES
        size = self._leases_at + LEASES * LEASE_BYTES
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with ExitStack() as undo:
                self._file = _opened(path, undo)
                self._lock_file = _opened(path.with_suffix(".lock"), undo)
                if mode != "read":
                    take_lock(self._lock_file)
                self.map = self._mapped(size)
                if mode != "read":
                    self._recount_after_boot()
                if mode == "shared":
                    free_lock(self._lock_file)
                undo.pop_all()
        except OSError as error:
            raise ConfigError(f"The quota ledger {path} cannot be used: {error.strerror}.") from error
        self._places: dict[str, tuple[bytes, int]] = {}

    def _mapped(self, size: int) -> mmap.mmap:
        found = os.fstat(self._file).st_size
        if found == 0:
            try:
                os.posix_fallocate(self._file, 0, size)
            except OSError:
                os.ftruncate(self._file, 0)  # a half-made file would be refused at the next start
                raise
        elif len(magic := os.pread(self._file, len(MAGIC), 0)) == len(MAGIC) and magic != MAGIC:
            raise self._foreign("its header is not that of this version")
        elif found != size:
            raise self._foreign("its size is not what quota.slots asks for")
        mapped = mmap.mmap(self._file, size)
        if found == 0:
            HEADER.pack_into(mapped, 0, MAGIC, self.slots, LEASES, 0, 0, 0, NONE, 0, 1, 0, _boot_id())
        elif HEADER.unpack_from(mapped)[1:3] != (self.slots, LEASES) or _U32.unpack_from(mapped, _HIGH)[0] > LEASES:
            mapped.close()
            raise self._foreign("its header is damaged")
        return mapped

    def _recount_after_boot(self) -> None:
        boot = _boot_id()
        if self.map[_BOOT : _BOOT + 16] != boot or not any(boot):
            self.begin()
            self._recount()
            self.commit()
            self.map[_BOOT : _BOOT + 16] = boot

    def _foreign(self, cause: str) -> ConfigError:
        return ConfigError(
            f"The quota ledger {self._path} cannot be used: {cause}. Stop every gateway and remove it; "
            f"the counts of today are lost with it."
        )

    def lock(self) -> None:
        """Take the lock; repair what a process that died holding it left half done.

        Raises:
            UnavailableError: another process holds it for too long.
        """
        if not self._alone:
            take_lock(self._lock_file)
        if _U32.unpack_from(self.map, _DIRTY)[0]:
            try:
                self._recount()
                self.commit()
            except BaseException:
                self.unlock()
                raise

    def unlock(self) -> None:
        """Give the lock back. An update that was begun and not committed is repaired by the next to lock."""
        if not self._alone:
            free_lock(self._lock_file)

    def begin(self) -> None:
        """Begin an update: until `commit`, what is held may disagree with the leases."""
        _U32.pack_into(self.map, _DIRTY, 1)

    def commit(self) -> None:
        """End an update: what is held agrees with the leases again."""
        _U32.pack_into(self.map, _DIRTY, 0)

    def close(self) -> None:
        """Write the counts back and unmap. Idempotent."""
        if self.map.closed:
            return
        self.map.flush()
        self.map.close()
        os.close(self._file)
        os.close(self._lock_file)

    def now(self, clock_ns: int, *, strict: bool = True) -> int:
        """Return the time, which never goes back: a clock set back hands out no quota.

        Raises:
            UnavailableError: with `strict`, the clock lies so far behind that limits would stand still.
        """
        latest: int = _I64.unpack_from(self.map, _NOW)[0]
        if clock_ns <= latest:
            behind = (latest - clock_ns) // 1_000_000_000
            if strict and behind > CLOCK_BEHIND_SECONDS:
                raise UnavailableError(
                    f"The clock is {behind} s behind the latest time that the quota ledger saw.",
                    remedy="The operator has to set the clock right; if it was ahead before, to stop every gateway "
                    "and remove the quota ledger from the state directory.",
                    code="quota_clock",
                )
            return latest
        _I64.pack_into(self.map, _NOW, clock_ns)
        return clock_ns

    # counters

    def counter(self, key: str, now: int, today: int, keep: Sequence[tuple[int, object]] = ()) -> int:
        """Return the offset of the counter of `key`, making it if need be.

        Args:
            key, now, today: of the limit; nanoseconds; day number.
            keep: begins with the offsets of counters whose new values are not written yet.

        Raises:
            UnavailableError: there is no room.
        """
        place = self._places.get(key)
        if place is not None and self.map[place[1] : place[1] + 32] == place[0]:
            return place[1] + 32
        if place is None:
            digest = sha256(key.encode()).digest()
            place = self._places[key] = (digest, self._find(digest, now, today, keep))
        else:
            # The counter was at rest and another key took its place.
            place = self._places[key] = (place[0], self._find(place[0], now, today, keep))
        return place[1] + 32

    def peek(self, key: str) -> tuple[int, int, int, int]:
        """Return TAT, day, used and held of a key without the lock: for display, where a value in flux is no harm."""
        digest = sha256(key.encode()).digest()
        first = int.from_bytes(digest[:8]) % self.slots
        for probe in range(_PROBES):
            offset = HEADER_BYTES + (first + probe) % self.slots * COUNTER_BYTES
            if self.map[offset : offset + 32] == digest:
                tat, day, used, held = COUNTER.unpack_from(self.map, offset + 32)
                return tat, day, used, held
        return 0, 0, 0, 0

    def _find(self, digest: bytes, now: int, today: int, keep: Sequence[tuple[int, object]]) -> int:
        first = int.from_bytes(digest[:8]) % self.slots
        free = -1
        for probe in range(min(_PROBES, self.slots)):
            offset = HEADER_BYTES + (first + probe) % self.slots * COUNTER_BYTES
            found = self.map[offset : offset + 32]
            if found == digest:
                return offset
            if not any(found):
                free = offset
                break
            if free < 0:
                tat, day, used, held = COUNTER.unpack_from(self.map, offset + 32)
                at_rest = tat <= now and held == 0 and (day < today or used == 0)
                if at_rest and all(offset + 32 != kept[0] for kept in keep):
                    free = offset
        if free < 0:
            raise UnavailableError(
                "The quota ledger has no room for another counter.",
                remedy="The operator has to raise quota.slots.",
                code="quota_ledger_full",
            )
        self.map[free : free + COUNTER_BYTES] = digest + COUNTER.pack(0, today, 0, 0)
        return free

    # leases

    def new_lease(self, expires: int, holds: list[tuple[int, int, int]]) -> int:
        """Begin an update, write a lease with its holds (counter offset, kind, amount) and return its id.

        Raises:
            UnavailableError: too many calls are under way.
        """
        if len(holds) > HOLDS:
            raise UnavailableError(
                f"{len(holds)} limits hold this call; at most {HOLDS} can.",
                remedy="The operator has to let fewer quota limits match one agent.",
                code="quota_too_many_limits",
            )
        index: int = _U32.unpack_from(self.map, _FREE)[0]
        if index == NONE:
            index = _U32.unpack_from(self.map, _HIGH)[0]
            if index >= LEASES:
                raise UnavailableError(
                    f"{LEASES} calls are under way already.", remedy="Try again later.", code="quota_leases_full"
                )
            self.begin()
            _U32.pack_into(self.map, _HIGH, index + 1)
        else:
            offset = self._leases_at + index * LEASE_BYTES
            self.begin()
            _U32.pack_into(self.map, _FREE, LEASE.unpack_from(self.map, offset)[2])
        number: int = _I64.unpack_from(self.map, _NEXT_ID)[0]
        _I64.pack_into(self.map, _NEXT_ID, number + 1)
        lease_id = number * LEASES + index
        offset = self._leases_at + index * LEASE_BYTES
        _HOLDS[len(holds)].pack_into(self.map, offset + LEASE.size, *chain.from_iterable(holds))
        LEASE.pack_into(self.map, offset, lease_id, expires, NONE, len(holds))
        return lease_id

    def end_lease(self, lease_id: int) -> None:
        """Give back what a lease holds and free it, unless it has ended already."""
        index = lease_id % LEASES
        offset = self._leases_at + index * LEASE_BYTES
        found, _, _, count = LEASE.unpack_from(self.map, offset)
        if found == lease_id:
            self._end(index, offset, count)

    def sweep(self, now: int) -> None:
        """End the leases that expired: their holds are given back, nothing is charged. At most once a second."""
        if now - _I64.unpack_from(self.map, _SWEEP)[0] < 1_000_000_000:
            return
        _I64.pack_into(self.map, _SWEEP, now)
        self.begin()
        for index in range(_U32.unpack_from(self.map, _HIGH)[0]):
            offset = self._leases_at + index * LEASE_BYTES
            lease_id, expires, _, count = LEASE.unpack_from(self.map, offset)
            if lease_id and expires <= now:
                self._end(index, offset, count)
        self.commit()

    def _end(self, index: int, offset: int, count: int) -> None:
        for counter, _kind, amount in self._holds(offset, count):
            self._add_held(counter, -amount)
        LEASE.pack_into(self.map, offset, 0, 0, _U32.unpack_from(self.map, _FREE)[0], 0)
        _U32.pack_into(self.map, _FREE, index)

    def _holds(self, offset: int, count: int) -> list[tuple[int, int, int]]:
        flat = iter(_HOLDS[count].unpack_from(self.map, offset + LEASE.size))
        return list(zip(flat, flat, flat, strict=True))

    def _is_hold(self, counter: int, kind: int, amount: int) -> bool:
        slot, rest = divmod(counter - HEADER_BYTES, COUNTER_BYTES)
        return rest == 32 and 0 <= slot < self.slots and kind in {KIND_HELD_USED, KIND_HELD} and 0 <= amount < 2**62

    def _add_held(self, counter: int, amount: int) -> None:
        held = _I64.unpack_from(self.map, counter + 24)[0] + amount
        _I64.pack_into(self.map, counter + 24, max(held, 0))

    def _recount(self) -> None:
        """Make what is held and what is free agree with the leases again, after a process died mid-update."""
        first, step = (HEADER_BYTES + COUNTER_BYTES) // 8 - 1, COUNTER_BYTES // 8
        with memoryview(self.map) as octets, octets.cast("q") as words:
            for slot, held in enumerate(words[first : self._leases_at // 8 : step].tolist()):
                if held:
                    words[first + slot * step] = 0
        free = NONE
        for index in range(_U32.unpack_from(self.map, _HIGH)[0]):
            offset = self._leases_at + index * LEASE_BYTES
            lease_id, expires, _, count = LEASE.unpack_from(self.map, offset)
            if lease_id > 0 and lease_id % LEASES == index:
                holds = self._holds(offset, min(count, HOLDS))
                if all(self._is_hold(*hold) for hold in holds):
                    for counter, _kind, amount in holds:
                        self._add_held(counter, amount)
                else:
                    # Pages of different age: a lease that cannot be read back holds nothing.
                    LEASE.pack_into(self.map, offset, lease_id, expires, NONE, 0)
            else:
                LEASE.pack_into(self.map, offset, 0, 0, free, 0)
                free = index
        _U32.pack_into(self.map, _FREE, free)


def _opened(path: Path, undo: ExitStack) -> int:
    """Open a file of the ledger; closed again, and its lock with it, if the ledger turns out unusable."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    undo.callback(os.close, descriptor)
    return descriptor


def _boot_id() -> bytes:
    """Return the id of the machine's boot (16 bytes); zeros where the kernel tells none."""
    try:
        return bytes.fromhex(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").replace("-", ""))
    except (OSError, ValueError):
        return bytes(16)
