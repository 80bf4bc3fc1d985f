"""Times of incidents: in a zone, never twice or never, and told in words."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from compliance.errors import ComplianceError
from compliance.incidents.times import moment, remaining, shown, span, zone_named

BERLIN = ZoneInfo("Europe/Berlin")
HALF_PAST_EIGHT = int(datetime(2026, 11, 24, 8, 30, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("text", "zone", "meant"),
    [
        ("2026-11-24T08:30Z", None, "2026-11-24T08:30:00+00:00"),
        ("2026-11-24T09:30+01:00", None, "2026-11-24T09:30:00+01:00"),
        ("2026-11-24 09:30", BERLIN, "2026-11-24T09:30:00+01:00"),
        ("2026-11-24T03:30-05:00", BERLIN, "2026-11-24T03:30:00-05:00"),
    ],
)
def test_a_time_is_the_same_moment_however_its_zone_is_given(text, zone, meant):
    assert moment(text, zone) == (HALF_PAST_EIGHT, meant)


@pytest.mark.parametrize(
    ("text", "zone", "said"),
    [
        ("2026-11-24T09:30", None, "does not say in which time zone"),
        ("2026-11-24", BERLIN, "needs the time too"),
        ("yesterday", BERLIN, "no date and time"),
        ("2026-10-25T02:30", BERLIN, "twice"),
        ("2026-03-29T02:30", BERLIN, "never"),
    ],
)
def test_a_time_that_is_not_certain_is_refused(text, zone, said):
    with pytest.raises(ComplianceError, match=said):
        moment(text, zone)


@pytest.mark.parametrize("name", ["Europe/Berln", "../../etc/passwd", ""])
def test_a_zone_that_there_is_not_is_refused(name):
    with pytest.raises(ComplianceError, match="no time zone"):
        zone_named(name)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "less than a minute"),
        (59, "less than a minute"),
        (60, "1 minute"),
        (2 * 86_400 + 3 * 3600 + 240, "2 days 3 hours"),
        (86_400 + 120, "1 day 2 minutes"),
        (-7260, "2 hours 1 minute"),
    ],
)
def test_spans_are_told_in_two_units(seconds, words):
    assert span(seconds) == words


def test_a_deadline_is_over_only_after_its_last_second():
    assert remaining(100, 100) == "less than a minute left"
    assert remaining(100, 160) == "overdue by 1 minute"


def test_a_time_is_shown_in_utc_and_in_the_zone_asked_for():
    assert shown(HALF_PAST_EIGHT) == "2026-11-24 08:30 UTC"
    assert shown(HALF_PAST_EIGHT, BERLIN) == "2026-11-24 08:30 UTC (2026-11-24 09:30 CET)"
