"""The tables that evidence is drawn from: one pass over the log fills them, in a database that anybody can query."""

from compliance.populations.base import Column, Entry, Kind, Population, Row, Value

__all__ = ["Column", "Entry", "Kind", "Population", "Row", "Value"]
