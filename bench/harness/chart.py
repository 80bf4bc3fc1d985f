"""Draws horizontal bars as SVG, readable on light and dark pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 760
LABEL = 210
ROW = 24
TITLE = 34
GAP = 22
VALUE = 90


@dataclass(frozen=True, slots=True)
class Panel:
    """One group of bars: title with the unit, and (label, value, highlighted) for each."""

    title: str
    bars: Sequence[tuple[str, float, bool]]
    digits: int = 0

    @property
    def height(self) -> int:
        """Height in pixels."""
        return TITLE + ROW * len(self.bars) + GAP


STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1f2937}"
    ".t{font-weight:600;font-size:14px}.v{fill:#4b5563}"
    ".b{fill:#9ca3af}.h{fill:#2563eb}.bg{fill:#fff}"
    "@media(prefers-color-scheme:dark){text{fill:#e5e7eb}.v{fill:#9ca3af}.b{fill:#6b7280}.h{fill:#60a5fa}"
    ".bg{fill:#111827}}"
)


def draw(panels: Sequence[Panel]) -> str:
    """Return the panels below each other as one SVG document."""
    height = sum(panel.height for panel in panels) + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}">',
        f"<style>{STYLE}</style>",
        f'<rect class="bg" width="{WIDTH}" height="{height}"/>',
    ]
    top = GAP
    for panel in panels:
        parts += _panel(panel, top)
        top += panel.height
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel, top: int) -> list[str]:
    parts = [f'<text class="t" x="16" y="{top + 14}">{escape(panel.title)}</text>']
    largest = max((value for _, value, _ in panel.bars), default=0.0) or 1.0
    room = WIDTH - LABEL - VALUE
    for number, (label, value, highlighted) in enumerate(panel.bars):
        y = top + TITLE + number * ROW
        length = max(1.0, max(value, 0.0) / largest * room)
        kind = "h" if highlighted else "b"
        shown = f"{value:,.{panel.digits}f}"
        parts += [
            f'<text x="{LABEL - 10}" y="{y + 13}" text-anchor="end">{escape(label)}</text>',
            f'<rect class="{kind}" x="{LABEL}" y="{y}" width="{length:.1f}" height="{ROW - 7}" rx="2"/>',
            f'<text class="v" x="{LABEL + length + 8:.1f}" y="{y + 13}">{shown}</text>',
        ]
    return parts
