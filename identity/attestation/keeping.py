"""Keeps a node's SVID fresh: when the next one is due, and what is done until it is there."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from identity.attestation.node import NodeSvid
from identity.clock import NANOSECONDS, Clock
from identity.errors import IdentityError
from identity.verification import PeerIdentity

JITTER = 0.1
"""How far from its half a life may be when it is renewed, so that machines started together do not stay together."""

FIRST_RETRY_SECONDS = 2.0
LONGEST_RETRY_SECONDS = 300.0

LOOK_SECONDS = 5.0
"""How often the clock is looked at: a machine that slept finds out."""


class SvidExpiredError(IdentityError):
    """No new SVID came in time."""


def renewal_due(now: float, not_after: int, chance: float) -> float:
    """Return when an SVID is renewed: at half of what is left of its life, give or take `JITTER`.

    Args:
        now: UNIX seconds at which it came.
        not_after: its end, UNIX seconds.
        chance: from 0 up to 1, at random.
    """
    return now + (not_after - now) * (0.5 + JITTER * (2 * chance - 1))


def retry_after(failures: int, left: float, chance: float) -> float:
    """Return after how many seconds a failed renewal is tried again.

    The wait doubles up to `LONGEST_RETRY_SECONDS`, but is never more than a quarter of what is left, and by up to a
    half shorter at random.

    Args:
        failures: in a row, at least 1.
        left: of the SVID's life (seconds).
        chance: from 0 up to 1, at random.
    """
    wait = min(FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 16), LONGEST_RETRY_SECONDS)
    return max(1.0, min(wait, left / 4)) * (1 - chance / 2)


class Keeper:
    """Renews until told to stop, or until the SVID has expired."""

    def __init__(
        self,
        fetch: Callable[[], Awaitable[NodeSvid]],
        take: Callable[[NodeSvid], None],
        tell: Callable[[str], None],
        clock: Clock,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Make one.

        Args:
            fetch: gets the next SVID.
            take: puts it in place.
            tell: says what happened, a line each time.
            clock: the time.
            chance: a number from 0 up to 1, at random.
        """
        self._fetch = fetch
        self._take = take
        self._tell = tell
        self._clock = clock
        self._chance = chance
        self._now = asyncio.Event()

    def at_once(self) -> None:
        """Renew now, whatever is due."""
        self._now.set()

    async def keep(self, held: PeerIdentity) -> None:
        """Renew for ever.

        Raises:
            SvidExpiredError: it expired, and why no other came.
        """
        due = renewal_due(self._time(), held.not_after, self._chance())
        failures, cause = 0, "no renewal was tried in time"
        while True:
            await self._until(min(due, held.not_after))
            left = held.not_after - self._time()
            if left <= 0:
                raise SvidExpiredError(f"the SVID of {held.id} has expired and no other came: {cause}")
            try:
                async with asyncio.timeout(left):
                    svid = await self._fetch()
                self._take(svid)
            except (IdentityError, TimeoutError) as error:
                failures, cause = failures + 1, str(error) or "no answer came in time"
                wait = retry_after(failures, left, self._chance())
                due = self._time() + wait
                self._tell(f"not renewed, next try in {wait:.0f} s, {left:.0f} s are left: {cause}")
                continue
            held, failures = svid.peer, 0
            due = renewal_due(self._time(), held.not_after, self._chance())
            self._tell(f"renewed {held.id}, serial {held.serial}, in {due - self._time():.0f} s again")

    async def _until(self, moment: float) -> None:
        while (left := moment - self._time()) > 0 and not self._now.is_set():
            try:
                async with asyncio.timeout(min(left, LOOK_SECONDS)):
                    await self._now.wait()
            except TimeoutError:
                continue
        self._now.clear()

    def _time(self) -> float:
        return self._clock() / NANOSECONDS
