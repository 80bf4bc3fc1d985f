"""Counts over the log, from the index."""

from dataclasses import dataclass
from datetime import UTC, datetime

from audit.search.index import SearchIndex

DAY_NS = 86_400 * 10**9
PRINCIPALS = 20


@dataclass(frozen=True, slots=True)
class Stats:
    """What a log holds.

    Attributes:
        records: number of records.
        bytes: their bytes, without what the store adds.
        first_ns: time of the first (UNIX nanoseconds); 0 for an empty log.
        last_ns: time of the last.
        types: number by type.
        days: number by day (UTC).
        decisions: number by decision.
        principals: number by principal, of those with the most.
        chains: number by chain.
    """

    records: int
    bytes: int
    first_ns: int
    last_ns: int
    types: dict[str, int]
    days: dict[str, int]
    decisions: dict[str, int]
    principals: dict[str, int]
    chains: dict[str, int]


def stats(index: SearchIndex) -> Stats:
    """Return the counts of the log that an index is of."""
    rows = index.connection.execute
    records, size, first, last = rows("SELECT count(*), sum(bytes), min(time_ns), max(time_ns) FROM hits").fetchone()
    days = rows("SELECT time_ns / ?, count(*) FROM hits GROUP BY 1 ORDER BY 1", (DAY_NS,))
    return Stats(
        records,
        size or 0,
        first or 0,
        last or 0,
        types=_by(index, "type"),
        days={datetime.fromtimestamp(day * 86_400, UTC).date().isoformat(): count for day, count in days},
        decisions=_by(index, "decision"),
        principals=_by(index, "principal", PRINCIPALS),
        chains=_by(index, "chain"),
    )


def _by(index: SearchIndex, column: str, limit: int = -1) -> dict[str, int]:
    query = (
        f"SELECT text, n FROM (SELECT {column} AS id, count(*) AS n FROM hits WHERE {column} IS NOT NULL "  # noqa: S608
        "GROUP BY 1) JOIN names USING (id) ORDER BY n DESC, text LIMIT ?"
    )
    return dict(index.connection.execute(query, (limit,)).fetchall())
