"""Compares decisions that were counted since a start with the calls on record since then."""

import sqlite3
from bisect import bisect_left
from itertools import accumulate, pairwise

from compliance.populations.collectors.base import SECOND

SLACK_NS = 10 * SECOND
"""How far from the edge of a window a call and its count may lie: counters are added up every second."""

_HOUR_NS = 3600 * SECOND


class _Running:
    """Numbers of things before given times, found in one pass over them."""

    def __init__(self, connection: sqlite3.Connection, sql: str, times: set[int]) -> None:
        self._times = sorted(times)
        counts = []
        for begin, end in pairwise(self._times):
            ((found,),) = connection.execute(sql, (begin, end)).fetchall()
            counts.append(int(found))
        self._sums = [0, *accumulate(counts)]

    def between(self, begin: int, end: int) -> int:
        """Return how many there are from a time to another one that is not included; both were given."""
        return self._sums[bisect_left(self._times, end)] - self._sums[bisect_left(self._times, begin)]


def reconcile(connection: sqlite3.Connection) -> None:
    """Fill the columns of the counts that compare.

    The sums run on from window to window until the gateway starts anew, so that a difference at the edge of one does
    not add up, and one that stays is found.
    """
    windows: list[tuple[int, int, int, int, int]] = []
    before = counted = begun = -1
    for rowid, since, until, decisions, in_flight in connection.execute(
        "SELECT rowid, since, until, decisions, in_flight FROM counts ORDER BY since, leaf"
    ).fetchall():
        if since != before:
            begun, counted = since, 0
        before = until
        counted += decisions
        windows.append((rowid, begun, until, counted, in_flight or 0))
    edges = {
        each + slack for _, begun, until, *_ in windows for each in (begun, until) for slack in (-SLACK_NS, 0, SLACK_NS)
    }
    calls = _Running(
        connection, "SELECT count(*) FROM calls WHERE time >= ? AND time < ? AND policy_revision <> ''", edges
    )
    later = {each for _, begun, until, *_ in windows for each in (begun, until + _HOUR_NS)}
    suppressed = _Running(
        connection, 'SELECT coalesce(sum("count"), 0) FROM suppressed_denials WHERE time >= ? AND time < ?', later
    )
    for rowid, begun, until, counted, in_flight in windows:
        least = calls.between(begun + SLACK_NS, max(begun + SLACK_NS, until - SLACK_NS))
        most = calls.between(begun - SLACK_NS, until + SLACK_NS) + suppressed.between(begun, until + _HOUR_NS)
        agree = least - in_flight <= counted <= most + in_flight
        connection.execute(
            "UPDATE counts SET recorded = ?, counted = ?, reconciled = ? WHERE rowid = ?",
            (calls.between(begun, until), counted, agree, rowid),
        )
