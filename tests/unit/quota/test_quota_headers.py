"""What a caller reads about its limits, byte for byte."""

import pytest

from gateway.quota.headers import quota_headers, refusal_headers
from gateway.quota.ledger import Limit, LimitReached, Standing

REQUESTS = Limit("starter-requests-per-minute", "k1", "requests", 60, 600)
MINUTE = Limit("starter-tokens-per-minute", "k2", "tokens", 60, 100_000)
DAY = Limit("starter-tokens-per-day", "k3", "tokens", 86_400, 1_000_000)
STREAMS = Limit("starter-concurrent-streams", "k4", "streams", 0, 8)


def test_every_limit_with_a_window_is_told_and_the_tightest_of_each_unit_in_the_names_sdks_read() -> None:
    standings = (
        Standing(REQUESTS, 599, 1),
        Standing(MINUTE, 99_000, 1),
        Standing(DAY, 4_000, 3_723),
        Standing(STREAMS, 7, 0),
    )
    assert quota_headers(standings) == [
        (
            b"ratelimit-policy",
            (
                b'"starter-requests-per-minute";q=600;w=60, "starter-tokens-per-minute";q=100000;w=60, '
                b'"starter-tokens-per-day";q=1000000;w=86400'
            ),
        ),
        (
            b"ratelimit",
            (
                b'"starter-requests-per-minute";r=599;t=1, "starter-tokens-per-minute";r=99000;t=1, '
                b'"starter-tokens-per-day";r=4000;t=3723'
            ),
        ),
        (b"x-ratelimit-limit-requests", b"600"),
        (b"x-ratelimit-remaining-requests", b"599"),
        (b"x-ratelimit-reset-requests", b"1s"),
        (b"x-ratelimit-limit-tokens", b"1000000"),
        (b"x-ratelimit-remaining-tokens", b"4000"),
        (b"x-ratelimit-reset-tokens", b"1h2m3s"),
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, b"0s"),
        (59, b"59s"),
        (60, b"1m0s"),
        (360, b"6m0s"),
        (3599, b"59m59s"),
        (3600, b"1h0m0s"),
        (86_400, b"24h0m0s"),
    ],
)
def test_a_reset_is_written_as_sdks_read_it(seconds: int, text: bytes) -> None:
    assert quota_headers((Standing(REQUESTS, 1, seconds),))[-1] == (b"x-ratelimit-reset-requests", text)


def test_concurrent_streams_alone_make_no_header() -> None:
    assert quota_headers((Standing(STREAMS, 7, 0),)) == []


def test_no_limit_makes_no_header() -> None:
    assert quota_headers(()) == []


def test_a_refusal_tells_the_limit_that_refused_and_when_to_come_again() -> None:
    assert refusal_headers(LimitReached(Standing(REQUESTS, 0, 12), 12, "detail")) == [
        (b"ratelimit-policy", b'"starter-requests-per-minute";q=600;w=60'),
        (b"ratelimit", b'"starter-requests-per-minute";r=0;t=12'),
        (b"x-ratelimit-limit-requests", b"600"),
        (b"x-ratelimit-remaining-requests", b"0"),
        (b"x-ratelimit-reset-requests", b"12s"),
        (b"retry-after", b"12"),
    ]


def test_a_call_that_can_never_pass_is_told_not_to_retry() -> None:
    headers = refusal_headers(LimitReached(Standing(MINUTE, 100_000, 0), 0, "detail"))
    assert headers[-1] == (b"x-should-retry", b"false")
    assert b"retry-after" not in dict(headers)


def test_a_refusal_for_too_many_streams_has_a_retry_after_alone() -> None:
    assert refusal_headers(LimitReached(Standing(STREAMS, 0, 1), 1, "detail")) == [(b"retry-after", b"1")]
