"""What is known besides the log while populations are made: the register, the policies' tables, the backends."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from compliance.errors import ComplianceError
from compliance.register import AiSystem, Register, load_register

Tables = Mapping[str, Any]


def _none(_digest: str) -> Tables | None:
    return None


@dataclass(frozen=True, slots=True)
class Backend:
    """A backend of the configuration."""

    region: str


@dataclass(frozen=True, slots=True)
class Context:
    """What is handed in.

    Attributes:
        register: the register as it is now.
        tables_of: returns the tables of the policies, below `govgateway`, of a revision by the digest of its data;
            None where they are not kept.
        backends: the backends of the configuration, by name.
    """

    register: Register
    tables_of: Callable[[str], Tables | None] = _none
    backends: Mapping[str, Backend] = field(default_factory=dict)


class Registers:
    """The register as it was when a call was decided."""

    def __init__(self, context: Context) -> None:
        self._now = context.register
        self._at = lru_cache(maxsize=256)(self._load)
        self._tables_of = context.tables_of

    def system(self, data_digest: str, system: str) -> AiSystem | None:
        """Return the entry of a system in the revision that decided; of the register now, where that is not kept."""
        return self._at(data_digest).systems.get(system)

    def _load(self, data_digest: str) -> Register:
        tables = self._tables_of(data_digest) if data_digest else None
        if tables is None:
            return self._now
        try:
            return load_register(tables)
        except ComplianceError:  # an older revision that would be refused today
            return self._now
