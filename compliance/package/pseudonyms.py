"""Stands in for the names of people: the same name by the same pseudonym within a package, and in no other."""

import hmac
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

from compliance.package.facts import Data
from compliance.populations.base import BASE_COLUMNS, Population, Row, Value

_KEPT = frozenset({"", "signal", "pulled", "start", "schedule"})
"""What acts and is nobody."""


class Pseudonyms:
    """Replaces names by keyed digests.

    Args:
        key: secret; forget it, and nobody can tell who is who. Empty: names stay as they are.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._known: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        """Return what stands for a name."""
        if not self._key or name in _KEPT:
            return name
        known = self._known.get(name)
        if known is None:
            known = "p-" + hmac.new(self._key, name.encode(), sha256).hexdigest()[:20]
            if len(self._known) < 100_000:
                self._known[name] = known
        return known

    def columns(self, population: Population) -> frozenset[str]:
        """Return the columns of a population that are replaced."""
        columns = (*BASE_COLUMNS, *population.columns)
        return frozenset(each.name for each in columns if each.personal) if self._key else frozenset()

    def row(self, row: Row, columns: frozenset[str]) -> dict[str, Value]:
        """Return a row with the names in these columns replaced."""
        changed: dict[str, Value] = dict(row)
        for name in columns:
            value = changed.get(name)
            if isinstance(value, str):
                changed[name] = self(value)
            elif isinstance(value, list):
                changed[name] = [self(each) for each in value]
        return changed


class PseudonymousData:
    """Populations in whose rows names are replaced. Queries see the names: what they return is not to be printed."""

    def __init__(self, data: Data, pseudonyms: Pseudonyms) -> None:
        self._data = data
        self._pseudonyms = pseudonyms

    @property
    def populations(self) -> Mapping[str, Population]:
        """What there is, by name."""
        return self._data.populations

    def rows(self, population: str, system: str = "") -> Iterator[Row]:
        """Yield the rows of a population."""
        columns = self._pseudonyms.columns(self._data.populations[population])
        for row in self._data.rows(population, system):
            yield self._pseudonyms.row(row, columns) if columns else row

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        return self._data.query(sql)

    def leaves_by_type(self) -> Mapping[str, int]:
        """Return how many records of each type the log has in the period."""
        return self._data.leaves_by_type()

    def window(self) -> tuple[int, int]:
        """Return the index of the period's first leaf, and that after its last."""
        return self._data.window()
