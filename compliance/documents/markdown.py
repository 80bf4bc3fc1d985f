"""Writes a document as Markdown (CommonMark with tables). What comes from data is escaped: it stays text."""

import re

from compliance.documents.model import Block, Document, Missing, Table

_SPECIAL = re.compile(r"([\\`*_<>\[\]{}#|~&!])")
_LIST = re.compile(r"^([-+=]|\d+[.)])")


def markdown(document: Document) -> bytes:
    """Return the document as Markdown."""
    parts = [f"# {escaped(document.title)}", escaped(document.purpose)]
    for section in document.sections:
        title = f"{section.title} ({section.source})" if section.source else section.title
        parts.append(f"## {escaped(title)}")
        parts += [_block(each) for each in section.blocks]
    return ("\n\n".join(parts) + "\n").encode()


def escaped(text: str) -> str:
    """Return one line of text so that Markdown shows it as it is."""
    return _LIST.sub(lambda found: _first_escaped(found.group(1)), _SPECIAL.sub(r"\\\1", text))


def _first_escaped(mark: str) -> str:
    return f"\\{mark}" if len(mark) == 1 and not mark.isdigit() else f"{mark[:-1]}\\{mark[-1]}"


def _block(block: Block) -> str:
    if isinstance(block, Missing):
        return f"> **{escaped(block.text)}**"
    if isinstance(block, Table):
        head = "| " + " | ".join(escaped(each) for each in block.columns) + " |"
        rule = "|" + " --- |" * len(block.columns)
        return "\n".join([head, rule, *("| " + " | ".join(escaped(each) for each in row) + " |" for row in block.rows)])
    return escaped(block.text)
