"""Everything that a log has about somebody, for an answer under Article 15 of the GDPR."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from audit.export.source import Source
from compliance.documents.model import Document, Missing, Section, paragraph, table
from compliance.documents.view import moment, signature

NAME = "article-15-access"
SHOWN = 1000
"""Records that the document lists; all of them are in records.jsonl."""


@dataclass(frozen=True, slots=True)
class Mention:
    """A record that names somebody.

    Attributes:
        leaf: its index in the tree.
        where: paths of the fields that hold the name.
        content: the record, byte by byte as the log has it.
    """

    leaf: int
    event_id: str
    type: str
    time_ns: int
    where: tuple[str, ...]
    content: bytes


@dataclass(frozen=True, slots=True)
class Sealed:
    """Content that is sealed under somebody's key; what it says is not read here."""

    event_id: str
    part: str
    size: int
    sealed_ns: int


def mentions(source: Source, name: str) -> Iterator[Mention]:
    """Yield the records in which a field is this name, in the order of the tree.

    Args:
        source: the log as it was signed.
        name: exactly as the log writes it, such as `spiffe://example.org/person/ada` or `operator:ada`.
    """
    # A record is canonical JSON: a name stands in it as this, between quotes.
    wanted = orjson.dumps(name)
    for leaf in source.leaves():
        if leaf.record is not None and wanted in leaf.record.record:
            where = tuple(_where(orjson.loads(leaf.record.record), name, ""))
            if where:
                record = leaf.record
                yield Mention(leaf.index, record.event_id, record.type, record.time_ns, where, record.record)


def access_document(
    name: str, found: list[Mention], sealed: list[Sealed], source: Source, since_ns: int | None
) -> Document:
    """Return the document.

    Args:
        name: who it is about.
        found: the records that name them.
        sealed: the contents that are sealed under their key.
        source: the log.
        since_ns: time of the oldest record that the log still has, UNIX nanoseconds; None if it has none.
    """
    kinds: dict[str, int] = {}
    for each in found:
        kinds[each.type] = kinds.get(each.type, 0) + 1
    return Document(
        NAME,
        f"Personal data about {name}",
        "What the log of the gateway has about this person, for an answer under Article 15 of the GDPR.",
        (
            Section(
                "What was searched",
                (
                    paragraph(
                        f"The log {source.checkpoint.origin} as it was signed with {source.checkpoint.size} records, "
                        f"for records that name exactly this: {name}"
                    ),
                    paragraph(f"Its oldest record that is kept is of {moment(since_ns)}.")
                    if since_ns is not None
                    else paragraph("The log has no records."),
                    Missing("other names of the same person, which have to be searched too"),
                ),
            ),
            Section(
                "Records",
                (
                    table(("Type", "Records"), sorted(kinds.items()), "No record names this person."),
                    table(
                        ("When", "Type", "Fields with the name", "Event", "Leaf"),
                        [
                            (moment(each.time_ns), each.type, ", ".join(each.where), each.event_id, each.leaf)
                            for each in found[:SHOWN]
                        ],
                        "There is nothing to list.",
                    ),
                    paragraph(f"All {len(found)} records are in records.jsonl, whole."),
                ),
                "Article 15(1)(b) and (3)",
            ),
            Section(
                "Sealed content",
                (
                    table(
                        ("Call", "Part", "Bytes", "Sealed"),
                        [(each.event_id, each.part, each.size, moment(each.sealed_ns)) for each in sealed],
                        "No content is sealed under a key of this person.",
                    ),
                    paragraph("To open it, ask with govctl audit content request; a second person approves."),
                ),
            ),
            Section(
                "What a person adds",
                (
                    Missing("purposes, recipients, how long data are kept, and where they come from"),
                    Missing("the rights to correction, erasure, restriction, objection and complaint"),
                    Missing("what has to be left out, since it concerns others (Article 15(4))"),
                ),
                "Article 15(1)(a) to (h)",
            ),
            signature(),
        ),
    )


def _where(value: Any, name: str, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _where(each, name, f"{path}.{key}" if path else key)
            if key == name:
                yield path or "."
    elif isinstance(value, list):
        for each in value:
            yield from _where(each, name, path)
    elif value == name:
        yield path
