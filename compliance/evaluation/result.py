"""What was found of each control: status, figures, population, exceptions, and every day of the period."""

from dataclasses import dataclass, field
from typing import Literal

from compliance.catalogue.model import Control, ControlTest, Framework
from compliance.period import Period

Status = Literal["pass", "fail", "partial", "attested", "not-applicable", "not-testable"]
"""How a control stands.

- `pass`: every test held on every day, and what people have to supply is there.
- `fail`: a test did not hold, or a day lacks data.
- `partial`: tests held, and something that a person has to supply is missing or out of date; or a test says partial,
  or held over the period as a whole and not on every day.
- `attested`: there are no tests; people supplied what is asked.
- `not-applicable`: it does not concern the system, with the reason.
- `not-testable`: a gateway cannot know, said openly.
"""

DayStatus = Literal["pass", "fail", "partial", "no-data"]


@dataclass(frozen=True, slots=True)
class DayResult:
    """A test on one day. `no-data`: the log does not cover the day, which fails the test.

    Attributes:
        day: as in 2026-11-24 (UTC).
        rows: rows that the test was about.
        exceptions: those of them that did not hold.
    """

    day: str
    status: DayStatus
    rows: int
    exceptions: int


@dataclass(frozen=True, slots=True)
class ControlTestResult:
    """A test over the period.

    Attributes:
        measured: the figure in words for a person and exact, e.g. "99.97 % (3 exceptions of 10,000)".
        value: the figure itself; of a share, the rows that were good.
        rows: rows that the test was about.
        exceptions: leaves and event ids of rows that did not hold, all of them, never dropped.
        query: the SQL that anybody can run on the population's table.
        days: each day of the period.
    """

    test: ControlTest
    status: Literal["pass", "fail", "partial", "not-applicable"]
    measured: str
    value: int | None
    rows: int
    exceptions: tuple[tuple[int, str], ...]
    query: str
    reason: str = ""
    days: tuple[DayResult, ...] = ()


@dataclass(frozen=True, slots=True)
class PersonResult:
    """What a person had to supply.

    Attributes:
        by: who stated it.
        reference: the document.
        sha256: of that document (hex); empty where none was given.
        valid_until: as in 2026-11-24; empty for the whole period.
    """

    id: str
    asks: str
    status: Literal["given", "missing", "expired"]
    statement: str = ""
    by: str = ""
    on: str = ""
    reference: str = ""
    sha256: str = ""
    valid_until: str = ""


@dataclass(frozen=True, slots=True)
class ControlResult:
    """A control over the period, for one system or for the organisation.

    Attributes:
        system: the AI system; empty for a control of the organisation.
        in_force: from when it binds, as in 2027-12-02; empty where no date is known.
        binding: whether it bound on the last day of the period; otherwise the result is preparation.
        version: version of the law or criterion.
        reason: why it does not apply, or cannot be tested.
    """

    framework: str
    control: Control
    system: str
    status: Status
    in_force: str
    binding: bool
    version: str
    reason: str = ""
    tests: tuple[ControlTestResult, ...] = ()
    person: tuple[PersonResult, ...] = ()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All controls of some frameworks over a period.

    Attributes:
        uncovered: days of the period that the log does not cover, with the reason.
    """

    period: Period
    system: str
    frameworks: tuple[Framework, ...]
    controls: tuple[ControlResult, ...]
    uncovered: tuple[tuple[str, str], ...] = field(default=())
