"""How long a record is kept: rules by type and AI system, and the law below them. Pure.

The law: the logs of a high-risk AI system are kept at least six months by its provider (Regulation (EU) 2024/1689,
Article 19(1)) and by its deployer (Article 26(6)), longer where other law asks for it. Here that holds for every
record, and the six months are calendar months that end with the whole last day (Regulation (EEC, Euratom) 1182/71,
Article 3), wherever on Earth that day ends last.
"""

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

from audit.retention.errors import RetentionError
from audit.retention.facts import Facts

DEFAULT_DAYS = 400
"""How long a record is kept that no rule names (days): a year, and what an audit of that year takes."""

LEGAL_MONTHS = 6
LEGAL_DAYS = 184
"""The longest six calendar months (days): a rule below this is a mistake, unless it says that it is none."""

_DAY_NS = 86_400_000_000_000
_MAX_DAYS = 36_525


@dataclass(frozen=True, slots=True)
class Rule:
    """Keeps some records so many days.

    Attributes:
        types: types of records, `*` and `?` as in file names; empty for all.
        systems: AI systems, likewise; empty for all.
    """

    days: int
    types: tuple[str, ...] = ()
    systems: tuple[str, ...] = ()

    def applies(self, facts: Facts) -> bool:
        """Whether it speaks of a record. Of one whose system is not known, every rule for some system does."""
        return (not self.types or any(fnmatchcase(facts.type, each) for each in self.types)) and (
            not self.systems or facts.system_elsewhere or any(fnmatchcase(facts.system, each) for each in self.systems)
        )


class RetentionRules:
    """All rules. Where several apply, the longest counts; where none does, the default.

    Raises:
        RetentionError: a rule is shorter than the law allows, or no number of days.
    """

    def __init__(
        self, rules: Sequence[Rule] = (), default_days: int = DEFAULT_DAYS, *, unsafe_shorter_than_law: bool = False
    ) -> None:
        self._rules = tuple(rules)
        self._default_days = default_days
        self._unsafe = unsafe_shorter_than_law
        for days in (default_days, *(rule.days for rule in rules)):
            if not 0 <= days <= _MAX_DAYS:
                raise RetentionError(f"{days} is no number of days to keep records: 0 to {_MAX_DAYS}")
            if days < LEGAL_DAYS and not unsafe_shorter_than_law:
                raise RetentionError(
                    f"records are kept at least six months (EU AI Act, Articles 19(1) and 26(6)); {days} days may be "
                    f"less. Say at least {LEGAL_DAYS}, or set unsafe_shorter_than_law where no such law applies."
                )

    def keep_until(self, facts: Facts) -> int:
        """Return until when a record is kept (UNIX nanoseconds)."""
        days = max((rule.days for rule in self._rules if rule.applies(facts)), default=self._default_days)
        until = facts.time_ns + days * _DAY_NS
        return until if self._unsafe else max(until, legal_end(facts.time_ns))

    def words(self) -> str:
        """Return the rules in words, for the record of a deletion."""
        parts = [f"{self._default_days} days"]
        for rule in self._rules:
            of = " ".join((*(rule.types or ("all types",)), *(f"system:{each}" for each in rule.systems)))
            parts.append(f"{rule.days} days for {of}")
        law = "below the legal minimum allowed" if self._unsafe else "at least six calendar months"
        return f"kept {', '.join(parts)}; {law}"


def legal_end(time_ns: int) -> int:
    """Return the end of the six calendar months after a moment (UNIX nanoseconds)."""
    day = datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).date()
    months = day.year * 12 + day.month - 1 + LEGAL_MONTHS
    year, month = divmod(months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    # The day is over everywhere when it is over twelve hours west of Greenwich.
    end = datetime(year, month + 1, min(day.day, last), tzinfo=UTC) + timedelta(hours=36)
    return int(end.timestamp()) * 1_000_000_000
