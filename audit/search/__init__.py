"""Finds records by what they say: a local index, derived from the chains, caught up on demand and never trusted."""

from audit.search.index import with_index
from audit.search.query import Query, SearchError
from audit.search.searching import search
from audit.search.stats import Stats, stats

__all__ = ["Query", "SearchError", "Stats", "search", "stats", "with_index"]
