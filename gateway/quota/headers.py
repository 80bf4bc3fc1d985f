"""Response headers that tell a caller where it stands.

`RateLimit-Policy` and `RateLimit` after draft-ietf-httpapi-ratelimit-headers-11 (which has no unit for tokens: the
names of the limits tell); `x-ratelimit-*` as the OpenAI SDKs and their users read them; `retry-after` on a refusal.
"""

from gateway.quota.ledger import LimitReached, Standing

Header = tuple[bytes, bytes]


def quota_headers(standings: tuple[Standing, ...]) -> list[Header]:
    """Return the headers for an answer: every limit with a window, and the tightest of each unit."""
    policies: list[str] = []
    states: list[str] = []
    tightest: dict[str, Standing] = {}
    for standing in standings:
        limit, remaining, reset = standing
        if not limit.window_seconds:
            continue
        policies.append(f'"{limit.name}";q={limit.amount};w={limit.window_seconds}')
        states.append(f'"{limit.name}";r={remaining};t={reset}')
        known = tightest.get(limit.unit)
        if known is None or remaining < known.remaining:
            tightest[limit.unit] = standing
    if not policies:
        return []
    headers = [(b"ratelimit-policy", ", ".join(policies).encode()), (b"ratelimit", ", ".join(states).encode())]
    for unit in ("requests", "tokens"):
        if unit in tightest:
            headers += _openai(unit, tightest[unit])
    return headers


def refusal_headers(error: LimitReached) -> list[Header]:
    """Return the headers of a refusal by a limit."""
    headers = quota_headers((error.standing,))
    if error.retry_after_seconds > 0:
        headers.append((b"retry-after", b"%d" % error.retry_after_seconds))
    else:
        headers.append((b"x-should-retry", b"false"))
    return headers


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
