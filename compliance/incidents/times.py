"""Points in time of incidents: never without a time zone, since a deadline of hours depends on it."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from compliance.errors import ComplianceError

_EXAMPLE = (
    "2026-11-24T09:30+01:00, 2026-11-24T08:30Z, or 2026-11-24T09:30 with the name of a zone such as Europe/Berlin"
)


def zone_named(name: str) -> ZoneInfo:
    """Return a time zone of the IANA database.

    Raises:
        ComplianceError: there is none of that name on this machine.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ComplianceError(
            f"{name!r} is no time zone that this machine knows; write the offset from UTC: {_EXAMPLE}."
        ) from error


def moment(text: str, zone: ZoneInfo | None = None) -> tuple[int, str]:
    """Return a point in time as UNIX seconds, and as it was meant: ISO 8601 with its offset from UTC.

    Args:
        text: date and time; with an offset, or in `zone`.
        zone: the zone of a time without an offset.

    Raises:
        ComplianceError: it is none, has no offset or zone, or is a time that the zone's clocks show twice or never.
    """
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise ComplianceError(f"{text!r} is no date and time; write {_EXAMPLE}.") from error
    if len(text) <= len("2026-11-24"):
        raise ComplianceError(f"{text!r} is a day; a deadline of hours needs the time too: {_EXAMPLE}.")
    if parsed.tzinfo is None:
        if zone is None:
            raise ComplianceError(f"{text!r} does not say in which time zone; write {_EXAMPLE}.")
        parsed = _in_zone(parsed, zone, text)
    return int(parsed.timestamp()), parsed.isoformat(timespec="seconds")


def _in_zone(parsed: datetime, zone: ZoneInfo, text: str) -> datetime:
    first, second = parsed.replace(tzinfo=zone, fold=0), parsed.replace(tzinfo=zone, fold=1)
    if first.utcoffset() != second.utcoffset():
        what = "twice" if (second.utcoffset() or timedelta()) < (first.utcoffset() or timedelta()) else "never"
        raise ComplianceError(f"clocks in {zone.key} show {text} {what} that day; write the offset from UTC.")
    return first


def shown(seconds: int, zone: ZoneInfo | None = None) -> str:
    """Return UNIX seconds for a person: in UTC, and in a zone beside it where one is given."""
    utc = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
    if zone is None:
        return utc
    return f"{utc} ({datetime.fromtimestamp(seconds, zone).strftime('%Y-%m-%d %H:%M %Z')})"


def span(seconds: int) -> str:
    """Return a span of time in its two largest units, rounded down: `3 days 4 hours`."""
    parts = []
    left = abs(seconds)
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}{'' if count == 1 else 's'}")
    return " ".join(parts[:2]) or "less than a minute"


def remaining(deadline: int, now: int) -> str:
    """Return how much time is left until a deadline, or how long it is past (both UNIX seconds)."""
    return f"{span(deadline - now)} left" if now <= deadline else f"overdue by {span(now - deadline)}"
