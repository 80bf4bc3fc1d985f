"""Reads a record only if it is in canonical form. Pure."""

import re
from typing import Any

import orjson

from audit.canonical import canonical
from audit.chain import VERSION
from audit.errors import CanonicalError

_SUSPECT_NUMBER = re.compile(rb"[0-9](?:[.eE]|[0-9]{15})")
"""A float, or an integer that may be beyond 2^53."""

_TEXTS = ("log", "chain", "prev", "event_id", "time", "type")


def parse_canonical(record: bytes) -> dict[str, Any] | None:
    """Return the document of a record; None if it is not the canonical form of one with the fields of a chain.

    ASCII without a suspect number outside of its texts is canonical if it is what orjson writes with sorted keys: the
    walk over every value that the general rule needs is saved for the others.
    """
    try:
        document = orjson.loads(record)
        if record.isascii() and b"\\" not in record and not _SUSPECT_NUMBER.search(b"".join(record.split(b'"')[::2])):
            same = orjson.dumps(document, option=orjson.OPT_SORT_KEYS) == record
        else:
            same = canonical(document) == record
    except (orjson.JSONDecodeError, CanonicalError, RecursionError):
        return None
    return document if same and type(document) is dict and _has_chain_fields(document) else None


def _has_chain_fields(document: dict[str, Any]) -> bool:
    if document.get("v") != VERSION or type(document.get("seq")) is not int:
        return False
    for name in _TEXTS:
        if type(document.get(name)) is not str:
            return False
    time = document["time"]
    return len(time) <= 20 and time.isascii() and time.isdigit()
