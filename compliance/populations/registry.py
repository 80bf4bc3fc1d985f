"""Every population: what its rows are and what its columns mean. The data dictionary of a package is made of this."""

from collections.abc import Mapping
from types import MappingProxyType

from compliance.populations.base import Population
from compliance.populations.tables.access import ACCESS
from compliance.populations.tables.calls import CALL_POPULATIONS, CALLS
from compliance.populations.tables.changes import CHANGES
from compliance.populations.tables.keeping import KEEPING
from compliance.populations.tables.running import RUNNING
from compliance.populations.tables.use import USE

__all__ = ["CALLS", "POPULATIONS"]

POPULATIONS: Mapping[str, Population] = MappingProxyType(
    {each.name: each for each in (*CALL_POPULATIONS, *ACCESS, *CHANGES, *RUNNING, *KEEPING, *USE)}
)
"""All populations, by name."""
