"""Charts as inline SVG. They show what tables beside them say, so that nobody needs to see colours."""

from collections.abc import Sequence

from markupsafe import Markup, escape

from compliance.evaluation.result import DayResult
from compliance.report.view import WORDS, Bar, Standing

WIDTH, HEIGHT, LEFT, BOTTOM = 720, 180, 48, 22

ALLOWED_FILL, REFUSED_FILL = "#2f5fa8", "#b3261e"

STATUS_FILL = {"pass": "#1b6e3c", "partial": "#8a5a00", "fail": "#b3261e", "no-data": "#5f6368"}
"""Fills of at least 4.5 to 1 against white (WCAG 2.2, contrast)."""


def calls_chart(bars: Sequence[Bar]) -> Markup:
    """Return allowed and refused calls of each day, stacked."""
    highest = max((bar.allowed + bar.refused for bar in bars), default=0)
    if not highest:
        return Markup("")
    step = (WIDTH - LEFT) * 1000 // len(bars)
    parts = [_axis(highest)]
    for place, bar in enumerate(bars):
        x, width = LEFT * 1000 + place * step, min(max(step * 8 // 10, 200), 48_000)
        base = (HEIGHT - BOTTOM) * 1000
        for count, fill, word in ((bar.allowed, ALLOWED_FILL, "allowed"), (bar.refused, REFUSED_FILL, "refused")):
            height = count * (HEIGHT - BOTTOM - 10) * 1000 // highest
            base -= height
            if count:
                title = f"<title>{escape(bar.day)}: {count} {word}</title>"
                parts.append(
                    f'<rect x="{_px(x)}" y="{_px(base)}" width="{_px(width)}" height="{_px(height)}" '
                    f'fill="{fill}">{title}</rect>'
                )
    parts += [_text(LEFT, HEIGHT - 6, bars[0].day, "start"), _text(WIDTH, HEIGHT - 6, bars[-1].day, "end")]
    return _svg("Calls of each day, allowed and refused", HEIGHT, parts)


def standings_chart(standings: Sequence[Standing]) -> Markup:
    """Return how many controls stood how on each day, stacked, what did not hold at the bottom."""
    if not standings:
        return Markup("")
    highest = max(sum(count for _, count in each.counts) for each in standings)
    step = (WIDTH - LEFT) * 1000 // len(standings)
    parts = [_axis(highest)]
    for place, each in enumerate(standings):
        base = (HEIGHT - BOTTOM) * 1000
        for status, count in each.counts:
            height = count * (HEIGHT - BOTTOM - 10) * 1000 // highest
            base -= height
            if count:
                words = f"<title>{escape(each.day)}: {count} controls {WORDS[status]}</title>"
                parts.append(
                    f'<rect x="{_px(LEFT * 1000 + place * step)}" y="{_px(base)}" '
                    f'width="{_px(min(max(step * 8 // 10, 200), 48_000))}" height="{_px(height)}" '
                    f'fill="{STATUS_FILL[status]}">{words}</rect>'
                )
    parts += [_text(LEFT, HEIGHT - 6, standings[0].day, "start"), _text(WIDTH, HEIGHT - 6, standings[-1].day, "end")]
    return _svg("Controls of each day by status", HEIGHT, parts)


def days_strip(days: Sequence[DayResult]) -> Markup:
    """Return a strip with one field a day, in the colour of its status."""
    if not days:
        return Markup("")
    step = WIDTH * 1000 // len(days)
    parts = [
        f'<rect x="{_px(place * step)}" y="0" width="{_px(max(step * 9 // 10, 200))}" height="16" '
        f'fill="{STATUS_FILL[each.status]}"><title>{escape(each.day)}: {each.status}</title></rect>'
        for place, each in enumerate(days)
    ]
    counts = {status: sum(each.status == status for each in days) for status in STATUS_FILL}
    said = ", ".join(f"{count} days {status}" for status, count in counts.items() if count)
    return _svg(f"{days[0].day} to {days[-1].day}: {said}", 16, parts)


def _axis(highest: int) -> str:
    base = HEIGHT - BOTTOM
    line = f'<line x1="{LEFT}" y1="{base}" x2="{WIDTH}" y2="{base}" stroke="#5f6368"/>'
    return line + _text(LEFT - 6, 14, f"{highest:,}", "end") + _text(LEFT - 6, base, "0", "end")


def _text(x: int, y: int, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="11" fill="#202124">{escape(text)}</text>'


def _px(thousandths: int) -> str:
    return f"{thousandths // 1000}.{thousandths % 1000:03}"


def _svg(label: str, height: int, parts: Sequence[str]) -> Markup:
    return Markup(  # noqa: S704 - every text in it was escaped above
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {WIDTH} {height}" width="100%">'
        + "".join(parts)
        + "</svg>"
    )
