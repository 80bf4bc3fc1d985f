"""Facts of a package over a small log with failures, as a part of a package gets them."""

from typing import Any

from compliance.catalogue.loading import load_catalogue
from compliance.evaluation.evaluating import evaluate
from compliance.package.facts import CheckpointFacts, Commitment, Facts
from compliance.period import Period
from compliance.populations.registry import POPULATIONS
from compliance.register import load_register
from tests.support.planted_log import SYSTEM, PlantedLog, intent

HOSTILE = 'A "><script>alert(1)</script> | `x` [a](javascript:b) \u202e *b*\nsecond\x07line'
"""What a text in the register may hold."""

CHECKPOINT_NS = 1_804_204_800_000_000_000


def facts_of(log: PlantedLog, period: Period, system: str = "hiring", **changes: Any) -> Facts:
    """Return facts of a package of the period's three days: one is well, one has an open call, one is not covered."""
    day = period.first.isoformat()
    log.call(f"{day}T10:00:00")
    second = [each.isoformat() for each in period.days()][1]
    log.write(f"{second}T10:00:00", "worker-1", intent())
    log.alive(second)
    entry = {**SYSTEM, "intended_purpose": HOSTILE}
    register = load_register({"systems": {"hiring": entry}})
    data = log.populations(period, register)
    catalogue = load_catalogue([], POPULATIONS)
    given: dict[str, Any] = {
        "evaluation": evaluate(data, catalogue.chosen([]), register, period, system, ()),
        "system": system,
        "register_entry": entry,
        "register": {"hiring": entry},
        "data": data,
        "period": period,
        "origin": "example.org/audit",
        "gateway": "example.org",
        "checkpoint": CheckpointFacts(b"", 3, b"r" * 32, CHECKPOINT_NS),
        "commitment": Commitment("c" * 64, "e", CHECKPOINT_NS),
        "seed": "",
        "policies": (),
        "keys": (),
        "fingerprint": "f" * 64,
        "configuration_digest": "d" * 64,
        "unsafe_options": (),
        "versions": {"govgateway": "1.2.3"},
        "exporter": "operator:ada",
        "real_names": False,
        "ipe": (),
        "samples": (),
        "spoilt": (),
        "pseudonym": lambda name: name,
    }
    return Facts(**{**given, **changes})
