"""Response headers that tell a caller where it stands.

`RateLimit-Policy` and `RateLimit` after draft-ietf-httpapi-ratelimit-headers-11 (which has no unit for tokens: the
names of the limits tell); `x-ratelimit-*` as the OpenAI SDKs and their users read them; `retry-after` on a refusal.
"""

from functools import lru_cache

from gateway.quota.ledger import Limit, LimitReached, Standing

Header = tuple[bytes, bytes]


def quota_headers(standings: tuple[Standing, ...]) -> list[Header]:
    """Return the headers for an answer: every limit with a window, and the tightest of each unit."""
    windowed = [standing for standing in standings if standing.limit.window_seconds]
    if not windowed:
        return []
    headers = [(b"ratelimit-policy", _policies(tuple(standing.limit for standing in windowed)))]
    headers.append(
        (
            b"ratelimit",
            ", ".join(f'"{s.limit.name}";r={s.remaining};t={s.reset_seconds}' for s in windowed).encode(),
        )
    )
    for unit in ("requests", "tokens"):
        tightest: Standing | None = None
        for standing in windowed:
            if standing.limit.unit == unit and (tightest is None or standing.remaining < tightest.remaining):
                tightest = standing
        if tightest is not None:
            headers += _openai(unit, tightest)
    return headers


def refusal_headers(error: LimitReached) -> list[Header]:
    """Return the headers of a refusal by a limit."""
    headers = quota_headers((error.standing,))
    if error.retry_after_seconds > 0:
        headers.append((b"retry-after", b"%d" % error.retry_after_seconds))
    else:
        headers.append((b"x-should-retry", b"false"))
    return headers


@lru_cache(maxsize=1024)
def _policies(limits: tuple[Limit, ...]) -> bytes:
    return ", ".join(f'"{limit.name}";q={limit.amount};w={limit.window_seconds}' for limit in limits).encode()


def _openai(unit: str, standing: Standing) -> list[Header]:
    name = unit.encode()
    return [
        (b"x-ratelimit-limit-" + name, b"%d" % standing.limit.amount),
        (b"x-ratelimit-remaining-" + name, b"%d" % standing.remaining),
        (b"x-ratelimit-reset-" + name, _duration(standing.reset_seconds)),
    ]


def _duration(seconds: int) -> bytes:
    """Format as OpenAI does: 1s, 6m0s, 1h2m3s."""
    minutes, rest = divmod(seconds, 60)
    if not minutes:
        return b"%ds" % rest
    hours, minutes = divmod(minutes, 60)
    return b"%dh%dm%ds" % (hours, minutes, rest) if hours else b"%dm%ds" % (minutes, rest)
