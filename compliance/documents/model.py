"""What a generated document is made of, whatever it is written as: sections of paragraphs, tables and gaps."""

from collections.abc import Sequence
from dataclasses import dataclass

from compliance.package.lines import one_line


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph. Its text is one line."""

    text: str


@dataclass(frozen=True, slots=True)
class Missing:
    """What a person has to write.

    Attributes:
        asks: what is asked.
        key: key of the register that would answer it the next time; empty where the register has none.
    """

    asks: str
    key: str = ""

    @property
    def text(self) -> str:
        """What stands in the document."""
        said = f"To be written by a person: {self.asks}"
        return f"{said} (key `{self.key}` of the register)" if self.key else said


@dataclass(frozen=True, slots=True)
class Table:
    """A table; every cell is one line."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Block = Paragraph | Missing | Table


@dataclass(frozen=True, slots=True)
class Section:
    """A section.

    Attributes:
        source: the article or criterion that asks for it; empty where none does.
    """

    title: str
    blocks: tuple[Block, ...]
    source: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A document.

    Attributes:
        name: of its files, without an ending.
        purpose: what it is for and what it is not, in a sentence or two.
    """

    name: str
    title: str
    purpose: str
    sections: tuple[Section, ...]

    @property
    def gaps(self) -> int:
        """How many gaps a person has to fill."""
        return sum(isinstance(block, Missing) for section in self.sections for block in section.blocks)


def paragraph(text: str) -> Paragraph:
    """Return a paragraph of any text."""
    return Paragraph(one_line(text))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], nothing: str) -> Block:
    """Return a table of any values, or a paragraph where it would have no rows.

    Args:
        columns: titles.
        rows: cells; None is an empty one, a list its members with commas.
        nothing: says that there is nothing.
    """
    if not rows:
        return paragraph(nothing)
    return Table(tuple(columns), tuple(tuple(_cell(value) for value in row) for row in rows))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(_cell(each) for each in value)
    return one_line(str(value))
