"""Reads the register out of the tables of the policies."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from compliance.errors import ComplianceError
from compliance.register.model import AiSystem


@dataclass(frozen=True, slots=True)
class Register:
    """The AI systems, by identifier.

    Attributes:
        tables: the tables of the policies that the register came from, by name.
    """

    systems: Mapping[str, AiSystem]
    tables: Mapping[str, Any] = field(default_factory=dict)

    def get(self, system: str) -> AiSystem:
        """Return a system.

        Raises:
            ComplianceError: the register has none of that name.
        """
        try:
            return self.systems[system]
        except KeyError:
            known = ", ".join(sorted(self.systems)) or "none"
            raise ComplianceError(f"the register has no AI system {system!r}; it has: {known}") from None


def load_register(tables: Mapping[str, Any]) -> Register:
    """Read the register.

    Args:
        tables: the data of the policies below `govgateway`: `systems`, `models`, `ai_act` and others.

    Raises:
        ComplianceError: an entry is not of the form; every fault is named with its key.
    """
    written = tables.get("systems") or {}
    systems: dict[str, AiSystem] = {}
    faults: list[str] = []
    for name in sorted(written):
        try:
            systems[name] = AiSystem.model_validate(written[name])
        except ValidationError as error:
            for each in error.errors():
                place = ".".join(str(part) for part in (name, *each["loc"]))
                faults.append(f"systems: {place}: {each['msg'].removeprefix('Value error, ')}")
    if faults:
        raise ComplianceError("the register of AI systems:\n" + "\n".join(f"  {fault}" for fault in faults))
    return Register(systems, tables)
