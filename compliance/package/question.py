"""What a package is asked for; with the tree that it is asked of, all that decides its bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from audit.canonical import canonical
from compliance.period import Period

SAMPLES = 25
"""How many rows of each population, and leaves of the window, a seed draws."""

MAX_SEED_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Question:
    """What a package is asked for.

    Attributes:
        log: name of the log.
        system: AI system; empty for the whole organisation.
        period: the days.
        frameworks: identifiers, sorted.
        real_names: personal columns hold real names.
        samples: how many rows of each population, and leaves of the window, a seed draws.
        inputs: SHA-256 (hex) of what is measured against, by name: catalogue, register, attestations.
        controls: identifiers of the controls asked for; empty for all of the frameworks.
    """

    log: str
    system: str
    period: Period
    frameworks: tuple[str, ...]
    real_names: bool = False
    samples: int = SAMPLES
    inputs: Mapping[str, str] = field(default_factory=dict)
    controls: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "controls": list(self.controls),
            "frameworks": list(self.frameworks),
            "from": str(self.period.first),
            "inputs": dict(self.inputs),
            "log": self.log,
            "real_names": self.real_names,
            "samples": self.samples,
            "system": self.system,
            "to": str(self.period.last),
        }

    def digest(self) -> str:
        """Return what tells questions apart: SHA-256 of the canonical document (hex)."""
        return sha256(canonical(self.document())).hexdigest()
