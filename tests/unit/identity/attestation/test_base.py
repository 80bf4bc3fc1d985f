"""The limiter of sources, and the names of nodes and selectors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.attestation.base import SourceLimiter, node_id, selector_value, source_of
from identity.clock import NANOSECONDS
from identity.spiffe_id import SpiffeId


class Ticking:
    def __init__(self):
        self.now = 1_800_000_000 * NANOSECONDS

    def __call__(self):
        return self.now


def test_a_source_may_try_a_burst_and_then_at_its_rate():
    clock = Ticking()
    limiter = SourceLimiter(clock, per_minute=6, burst=3)
    assert [limiter.wait("a") for _ in range(4)] == [0, 0, 0, 10]
    assert limiter.wait("b") == 0
    clock.now += 9 * NANOSECONDS
    assert limiter.wait("a") == 1
    clock.now += NANOSECONDS
    assert [limiter.wait("a"), limiter.wait("a")] == [0, 10]


def test_a_full_memory_refuses_new_sources_and_keeps_those_that_are_limited():
    clock = Ticking()
    limiter = SourceLimiter(clock, per_minute=6, burst=1, capacity=100)
    assert all(limiter.wait(str(n)) == 0 for n in range(100))
    assert limiter.wait("new") > 0
    assert limiter.wait("0") > 0
    assert len(limiter) == 100
    clock.now += 11 * NANOSECONDS
    assert limiter.wait("new") == 0
    assert len(limiter) == 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), max_size=200))
def test_no_source_ever_gets_more_than_burst_and_rate(steps):
    clock = Ticking()
    limiter, begin = SourceLimiter(clock, per_minute=60, burst=5), clock.now
    passed = dict.fromkeys("abc", 0)
    for source, seconds in steps:
        clock.now += seconds * NANOSECONDS
        passed[source] += limiter.wait(source) == 0
        assert passed[source] <= 5 + (clock.now - begin) // NANOSECONDS


def test_an_ipv6_host_is_limited_by_its_network_and_a_mapped_address_as_ipv4():
    assert source_of("2001:db8::1") == source_of("2001:db8::ffff:1") == "2001:db8::/64"
    assert source_of("2001:db8:0:1::1") != source_of("2001:db8::1")
    assert source_of("fe80::1%eth0") == "fe80::/64"
    assert source_of("::ffff:192.0.2.1") == source_of("192.0.2.1") == "192.0.2.1"
    assert source_of("nonsense") == "unknown"


@given(st.text(min_size=1, max_size=300).filter(lambda s: not any(0xD800 <= ord(c) < 0xE000 for c in s)))
def test_every_text_gives_a_node_id_of_one_segment_and_different_ones_differ(text):
    parsed = SpiffeId.parse(node_id("home.test", "oidc", text))
    assert parsed.path.count("/") == 3
    assert node_id("home.test", "oidc", text + "/") != str(parsed)


@pytest.mark.parametrize("value", ["", " a", "a ", "a\nb", "a\x00", "x" * 1025])
def test_values_that_could_be_misread_become_no_selector(value):
    assert selector_value(value) is None
