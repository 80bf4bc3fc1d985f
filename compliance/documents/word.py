"""Writes a document as DOCX (ECMA-376). The same document gives the same bytes."""

import io
import zipfile
from datetime import UTC, datetime

import docx
from docx.enum.text import WD_COLOR_INDEX

from compliance.documents.model import Block, Document, Missing, Table

_EPOCH = (1980, 1, 1, 0, 0, 0)
_STYLE = "Table Grid"


def word(document: Document, time_ns: int) -> bytes:
    """Return the document as DOCX.

    Args:
        document: what to write.
        time_ns: time that its properties name, UNIX nanoseconds.
    """
    made = docx.Document()
    properties = made.core_properties
    properties.title = document.title[:255]
    properties.author = properties.last_modified_by = "govgateway"
    properties.comments = properties.keywords = properties.subject = ""
    properties.created = properties.modified = datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).replace(
        tzinfo=None
    )
    properties.revision = 1
    made.add_heading(document.title, 0)
    made.add_paragraph(document.purpose)
    for section in document.sections:
        made.add_heading(f"{section.title} ({section.source})" if section.source else section.title, 1)
        for block in section.blocks:
            _add(made, block)
    raw = io.BytesIO()
    made.save(raw)
    return _packed(raw)


def _add(made: "docx.document.Document", block: Block) -> None:
    if isinstance(block, Missing):
        run = made.add_paragraph().add_run(block.text)
        run.bold = True
        run.font.highlight_color = WD_COLOR_INDEX.YELLOW
    elif isinstance(block, Table):
        rows = made.add_table(rows=0, cols=len(block.columns), style=_STYLE)
        for number, values in enumerate((block.columns, *block.rows)):
            cells = rows.add_row().cells
            for cell, value in zip(cells, values, strict=True):
                cell.paragraphs[0].add_run(value).bold = number == 0
        made.add_paragraph()
    else:
        made.add_paragraph(block.text)


def _packed(raw: io.BytesIO) -> bytes:
    """Pack the parts again: python-docx writes the time of day into the archive."""
    packed = io.BytesIO()
    with zipfile.ZipFile(raw) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            target.writestr(info, source.read(name))
    return packed.getvalue()
