"""What is looked for, and the statement that finds it in the index."""

import re
from dataclasses import dataclass

from audit.errors import AuditError
from audit.search.fields import NAMED

LIMIT = 1_000_000
_NAMED_SO = "SELECT id FROM names WHERE text GLOB ?"
_WORD = re.compile(r"[^\W_]+")


class SearchError(AuditError):
    """A search cannot be made."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for; everything that is given has to hold.

    Attributes:
        since: first time (UNIX nanoseconds).
        until: time after the last (UNIX nanoseconds); 0 for no end.
        named: values of the fields principal, system, action, decision, agent and trace_id; `*` stands for anything.
        types: record types, one of which has to be it; `*` stands for anything.
        reason: one of the reasons of the decision.
        text: words that stand in the record, each in any place.
        limit: most records returned, the newest.
    """

    since: int = 0
    until: int = 0
    named: tuple[tuple[str, str], ...] = ()
    types: tuple[str, ...] = ()
    reason: str = ""
    text: str = ""
    limit: int = 100

    def statement(self) -> tuple[str, list[object]]:
        """Return the statement over the index that yields chain, sequence and hash, newest first.

        Raises:
            SearchError: the text has no word, or the limit is out of range.
        """
        if not 1 <= self.limit <= LIMIT:
            raise SearchError(f"the limit is between 1 and {LIMIT}")
        conditions, values = ["1"], list[object]()
        if self.since:
            conditions.append("time_ns >= ?")
            values.append(self.since)
        if self.until:
            conditions.append("time_ns < ?")
            values.append(self.until)
        for field, pattern in self.named:
            if field not in NAMED:
                raise SearchError(f"{field!r} is no field that is searched; there are: {', '.join(NAMED)}")
            conditions.append(f"{field} IN ({_NAMED_SO})")
            values.append(_glob(pattern))
        if self.types:
            any_of = " UNION ".join([_NAMED_SO] * len(self.types))
            conditions.append(f"type IN ({any_of})")
            values += [_glob(each) for each in self.types]
        if self.reason:
            conditions.append(f"hits.id IN (SELECT hit FROM reasons WHERE reason IN ({_NAMED_SO}))")  # noqa: S608
            values.append(_glob(self.reason))
        if self.text:
            words = _WORD.findall(self.text)
            if not words:
                raise SearchError(f"{self.text!r} has no word to look for")
            conditions.append("hits.id IN (SELECT rowid FROM words WHERE words MATCH ?)")
            values.append(" AND ".join(f'"{word}"' for word in words))
        query = (
            "SELECT (SELECT text FROM names WHERE id = chain), seq, hash FROM hits "  # noqa: S608 - names of this file
            f"WHERE {' AND '.join(conditions)} ORDER BY time_ns DESC, hits.id DESC LIMIT ?"
        )
        return query, [*values, self.limit]


def _glob(pattern: str) -> str:
    """Return a pattern in which only `*` is special."""
    return re.sub(r"([\[?])", r"[\1]", pattern)


def matches(pattern: str, value: str | None) -> bool:
    """Whether a value is what a pattern of a query means."""
    if value is None:
        return False
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), value, re.DOTALL) is not None
