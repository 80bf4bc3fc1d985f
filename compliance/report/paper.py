"""A4 pages: text of most languages, what the font lacks by its code point, tables that break between rows, numbers."""

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.resources import as_file, files

from fpdf import FPDF, XPos, YPos
from fpdf.enums import TableBordersLayout, VAlign
from fpdf.fonts import FontFace

from compliance.package.lines import one_line

FAMILY = "SourceSansPro"
MARGIN_MM = 18
SIZE_PT = 9.5
LINE_MM = 4.6

LONGEST = 4000
"""Longest text of one cell or paragraph (characters); what is cut is in other files of the package."""

_STYLES = {"": "Regular", "B": "Bold"}
_BLACK = (32, 33, 36)


class Paper(FPDF):
    """A document on A4.

    Args:
        title: of the document; stands in its properties and at the foot of each page.
        time_ns: time that its properties name, UNIX nanoseconds.
    """

    def __init__(self, title: str, time_ns: int) -> None:
        super().__init__(format="A4")
        for style, face in _STYLES.items():
            with as_file(files("font_source_sans_pro").joinpath(f"files/SourceSansPro-{face}.ttf")) as path:
                self.add_font(FAMILY, style, path)
        faces = (self.fonts[f"{FAMILY.lower()}{style}"] for style in _STYLES)
        self._known = frozenset.intersection(*(frozenset(face.cmap) for face in faces))  # type: ignore[union-attr]
        self._foot = self.showable(title)
        self.set_title(self._foot)
        self.set_lang("en")
        self.set_creator("govgateway")
        self.set_producer("govgateway")
        self.set_creation_date(datetime.fromtimestamp(time_ns // 1_000_000_000, UTC))
        self.set_margin(MARGIN_MM)
        self.set_auto_page_break(True, MARGIN_MM)
        self.set_font(FAMILY, size=SIZE_PT)

    def footer(self) -> None:
        """Write title and page number at the foot of a page."""
        self.set_y(-12)
        self.set_font(FAMILY, size=7.5)
        self.set_text_color(*_BLACK)
        self.cell(self.epw - 25, 5, self._fitting(self._foot, self.epw - 25))
        self.cell(25, 5, f"{self.page_no()} of {{nb}}", align="R")

    def showable(self, text: str) -> str:
        """Return a text as one line in which what the font lacks stands as its code point."""
        line = one_line(text)
        if len(line) > LONGEST:
            line = f"{line[:LONGEST]} (and {len(line) - LONGEST} characters more)"
        return "".join(each if ord(each) in self._known else f"[U+{ord(each):04X}]" for each in line)

    def heading(self, text: str, level: int, listed: bool = True) -> None:
        """Write a heading.

        Args:
            text: what it says.
            level: 0 for the highest.
            listed: it stands in the document's outline.
        """
        shown = self.showable(text)
        if self.will_page_break(20):
            self.add_page()
        self.ln((0, 4, 2)[level])
        if listed:
            self.start_section(shown, level, strict=False)
        self.set_font(FAMILY, "B", (17, 13, 10.5)[level])
        self.multi_cell(0, (8, 6.5, 5.5)[level], shown, new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L")
        self.set_font(FAMILY, size=SIZE_PT)
        self.ln(1)

    def text_line(self, text: str, bold: bool = False) -> None:
        """Write a paragraph."""
        self.set_font(FAMILY, "B" if bold else "", SIZE_PT)
        self.multi_cell(0, LINE_MM, self.showable(text), new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L")
        self.set_font(FAMILY, size=SIZE_PT)
        self.ln(1.2)

    def rows(self, columns: Sequence[str], rows: Sequence[Sequence[object]], widths: Sequence[int]) -> None:
        """Write a table; its head stands again on each page.

        Args:
            columns: titles.
            rows: cells.
            widths: of the columns, in proportion.
        """
        if not rows:
            return
        self.set_font(FAMILY, size=8.5)
        self.set_fill_color(255)
        self.set_draw_color(189, 193, 198)
        with self.table(
            borders_layout=TableBordersLayout.HORIZONTAL_LINES,
            col_widths=tuple(widths),
            headings_style=FontFace(family=FAMILY, emphasis="BOLD"),
            line_height=4.2,
            padding=0.6,
            text_align="LEFT",
            v_align=VAlign.T,
        ) as table:
            for row in (columns, *rows):
                shown = table.row()
                for cell in row:
                    shown.cell(self.showable(str(cell)))
        self.set_font(FAMILY, size=SIZE_PT)
        self.ln(3)

    def bars(self, days: Sequence[tuple[str, Sequence[tuple[int, str]]]], height_mm: int = 34) -> None:
        """Draw stacked bars, one a day; the table beside them says the figures.

        Args:
            days: each day with its parts: a number and its colour as in #2f5fa8, from the bottom.
            height_mm: height of the highest bar (mm).
        """
        highest = max((sum(count for count, _ in parts) for _, parts in days), default=0)
        if not highest:
            return
        if self.will_page_break(height_mm + 12):
            self.add_page()
        base, left = self.get_y() + height_mm + 3, self.l_margin + 10
        step = (self.epw - 10) / len(days)
        for place, (_, parts) in enumerate(days):
            y = base
            for count, colour in parts:
                height = count * height_mm / highest
                y -= height
                self.set_fill_color(colour)
                if count:
                    self.rect(left + place * step, y, min(step * 0.8, 14), height, style="F")
        self.set_draw_color(*_BLACK)
        self.line(left, base, left + self.epw - 10, base)
        self.set_font(FAMILY, size=7.5)
        self.text(self.l_margin, base - height_mm + 2, str(highest))
        self.text(self.l_margin, base, "0")
        self.text(left, base + 4, days[0][0])
        self.text(self.l_margin + self.epw - self.get_string_width(days[-1][0]), base + 4, days[-1][0])
        self.set_font(FAMILY, size=SIZE_PT)
        self.set_y(base + 7)

    def strip(self, colours: Sequence[str]) -> None:
        """Draw one field a day; the words beside it say what they mean."""
        if not colours:
            return
        if self.will_page_break(6):
            self.add_page()
        y, step = self.get_y(), self.epw / len(colours)
        for place, colour in enumerate(colours):
            self.set_fill_color(colour)
            self.rect(self.l_margin + place * step, y, step * 0.92, 3, style="F")
        self.set_y(y + 5)

    def _fitting(self, text: str, width_mm: float) -> str:
        if self.get_string_width(text) <= width_mm:
            return text
        while text and self.get_string_width(f"{text}…") > width_mm:
            text = text[: len(text) * 9 // 10]
        return f"{text}…"
