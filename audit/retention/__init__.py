"""Retention: how long records are kept, what holds them longer, and deletion by whole sealed segments."""

from audit.retention.deletion import Copy, Keeper
from audit.retention.errors import RetentionError
from audit.retention.facts import Facts, facts_of
from audit.retention.holds import Covers, Hold, holding
from audit.retention.journal import Book, Journal
from audit.retention.planning import Blocker, Cursors, OpenNote, Planner, SegmentPlan
from audit.retention.rows import Rows, RowsBehindTree
from audit.retention.rules import DEFAULT_DAYS, LEGAL_DAYS, RetentionRules, Rule, legal_end
from audit.retention.segments import Segment, heads_of, next_segment

__all__ = [
    "DEFAULT_DAYS",
    "LEGAL_DAYS",
    "Blocker",
    "Book",
    "Copy",
    "Covers",
    "Cursors",
    "Facts",
    "Hold",
    "Journal",
    "Keeper",
    "OpenNote",
    "Planner",
    "RetentionError",
    "RetentionRules",
    "Rows",
    "RowsBehindTree",
    "Rule",
    "Segment",
    "SegmentPlan",
    "facts_of",
    "heads_of",
    "holding",
    "legal_end",
    "next_segment",
]
