"""Points in time as a person writes them: a date, a date with time, or how long ago."""

import re
from datetime import UTC, datetime

import typer

from gateway.clock import system_clock

_AGO = re.compile(r"([0-9]{1,6})(s|m|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

TIME_HELP = "Date, date and time (UTC unless it says otherwise), or how long ago: 2026-08-02T14:00, 90m, 7d."


def parse_time(text: str) -> int:
    """Return UNIX nanoseconds.

    Raises:
        typer.BadParameter: it is no point in time.
    """
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return system_clock() - int(ago[1]) * _SECONDS[ago[2]] * 10**9
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no point in time. {TIME_HELP}") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 10**9 + moment.microsecond * 1000
