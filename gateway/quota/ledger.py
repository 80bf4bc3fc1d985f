"""The quota seam: reserve the worst case of every limit at once, settle with what was really used."""

from typing import NamedTuple, Protocol

from gateway.errors import QuotaExceededError


class Limit(NamedTuple):
    """One limit as it applies to one subject.

    Attributes:
        name: name of the limit in the policy data, shown to the caller.
        key: what is counted, unique in the ledger (`<limit>|<subject>`).
        unit: `requests`, `tokens` or `streams`.
        window_seconds: 60 for a rate per minute, 86 400 for a calendar day in UTC, 0 for a concurrency.
        amount: how many units the window (or the moment, for a concurrency) allows.
    """

    name: str
    key: str
    unit: str
    window_seconds: int
    amount: int


class Standing(NamedTuple):
    """Where a limit stands after a reservation or a refusal.

    Attributes:
        limit: the limit.
        remaining: units left for a further call.
        reset_seconds: seconds until the limit is whole again, rounded up.
    """

    limit: Limit
    remaining: int
    reset_seconds: int


class Reservation(NamedTuple):
    """Units held for one call until it is settled or its lease expires.

    Attributes:
        id: the lease's number in the ledger.
        tokens: tokens held in each token limit.
        standings: where each limit stands, in the order of the limits.
        stream: whether a concurrent stream is held.
    """

    id: int
    tokens: int
    limits: tuple[Limit, ...]
    standings: tuple[Standing, ...]
    stream: bool = False


class LimitReached(QuotaExceededError):  # noqa: N818 - an expected outcome, named for what happened
    """A limit refuses the call.

    Attributes:
        standing: the limit that refused and how long until it would allow the call.
    """

    def __init__(self, standing: Standing, retry_after_seconds: int, detail: str, remedy: str = "") -> None:
        super().__init__(detail, remedy=remedy, code="quota_" + standing.limit.unit)
        self.standing = standing
        self.retry_after_seconds = retry_after_seconds


class QuotaLedger(Protocol):
    """Counts. All or none: a refusal by one limit leaves every other untouched."""

    async def reserve(self, limits: tuple[Limit, ...], *, tokens: int, stream: bool, lease_seconds: int) -> Reservation:
        """Hold one request, `tokens` tokens and, if `stream`, one stream in every limit given.

        Args:
            limits: the limits that apply to this call.
            tokens: worst case of the call (tokens, input and output).
            stream: whether the call holds a concurrent stream.
            lease_seconds: when the hold lapses by itself if the gateway dies (seconds).

        Raises:
            LimitReached: one limit refuses; nothing is held.
            gateway.errors.UnavailableError: the ledger cannot answer.
        """

    async def settle(self, reservation: Reservation, *, tokens: int) -> None:
        """Replace the held tokens by the tokens really used and release the stream. Idempotent.

        `tokens` above the reservation is charged in full.
        """

    async def release(self, reservation: Reservation) -> None:
        """Give everything back, the request included: the call never reached a backend. Idempotent."""

    async def standings(self, limits: tuple[Limit, ...]) -> tuple[Standing, ...]:
        """Return where the limits stand now, without changing them."""
