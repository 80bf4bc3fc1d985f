"""What the documents of one AI system read: its entry of the register, its results, and figures of the log."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from compliance.documents.model import Block, Missing, Section, paragraph, table
from compliance.evaluation.conditions import quoted
from compliance.evaluation.result import ControlResult
from compliance.package.facts import Facts
from compliance.populations.base import Row
from compliance.register.model import AiSystem, Contact
from compliance.register.model import Document as KeptDocument

NANOSECONDS = 1_000_000_000

STATUS = {
    "pass": "evidence supports it",
    "attested": "a person attested it",
    "partial": "evidence supports it in part",
    "fail": "evidence does not support it",
    "not-applicable": "not applicable",
    "not-testable": "not testable at a gateway",
}
"""What a status says in a document that somebody signs."""


class View:
    """One AI system in a package.

    Attributes:
        facts: everything about the package.
        name: the system's name in the register.
        system: its entry.
    """

    def __init__(self, facts: Facts, name: str, entry: Mapping[str, Any]) -> None:
        self.facts = facts
        self.name = name
        self.system = AiSystem.model_validate(entry)

    @property
    def called(self) -> str:
        """The system's name for people."""
        return self.system.name or self.name

    def rows(self, population: str) -> Iterator[Row]:
        """Yield the rows of a population that are about this system; none if there is no such population."""
        if population not in self.facts.data.populations:
            return iter(())
        return (row for row in self.facts.data.rows(population) if row["system"] in (self.name, ""))

    def own_rows(self, population: str) -> list[Row]:
        """Return the rows of a population that name this system."""
        return [row for row in self.rows(population) if row["system"] == self.name]

    def calls(self, condition: str = "1") -> int:
        """Return the number of calls of the period that meet a condition in SQL, written in this program."""
        if "calls" not in self.facts.data.populations:
            return 0
        sql = f"SELECT count(*) FROM calls WHERE system = {quoted(self.name)} AND {condition}"  # noqa: S608 - quoted
        return int(self.facts.data.query(sql)[0][0])

    def result(self, control: str) -> ControlResult | None:
        """Return the result of a control for this system; None if it was not evaluated."""
        for each in self.facts.evaluation.controls:
            if each.control.id == control and each.system == self.name:
                return each
        return None

    def text(self, value: str | None, asks: str, key: str) -> Block:
        """Return what the register says, or what a person has to write."""
        return paragraph(f"{_begun(asks)}: {value}") if value else Missing(asks, key)

    def listed(self, values: Iterable[str] | None, asks: str, key: str) -> Block:
        """Return a list that the register has in one sentence, or what a person has to write."""
        found = [each for each in values or () if each]
        return paragraph(f"{_begun(asks)}: {'; '.join(found)}.") if found else Missing(asks, key)

    def document(self, kept: KeptDocument | None, asks: str, key: str) -> Block:
        """Return where a document is kept, with its digest, or what a person has to write."""
        if kept is None:
            return Missing(asks, key)
        digest = kept.sha256 or "its digest is not given"
        return paragraph(f"{_begun(asks)}: {kept.reference} ({digest})")

    def contact(self, who: Contact | None, asks: str, key: str) -> Block:
        """Return somebody's name and address, or what a person has to write."""
        if who is None:
            return Missing(asks, key)
        said = ", ".join(each for each in (who.name, who.address, who.email or "") if each)
        return paragraph(f"{_begun(asks)}: {said}")

    def shown(self, *controls: str) -> Block:
        """Return what the log shows of some controls, each with the date from which it binds."""
        rows = [
            (
                f"{each.control.id}: {each.control.title}",
                STATUS[each.status],
                measured(each),
                bound(each),
            )
            for each in (self.result(control) for control in controls)
            if each is not None
        ]
        return table(("Control", "Result", "Figures", "Binds"), rows, "None of its controls was evaluated here.")

    def period(self) -> str:
        """Return the period and the log, as a sentence."""
        return (
            f"Figures are of {self.facts.period}, from the log {self.facts.origin} as it was signed with "
            f"{self.facts.checkpoint.size} records. The package that this document is part of proves them."
        )


def _begun(asks: str) -> str:
    return asks[0].upper() + asks[1:]


def measured(result: ControlResult) -> str:
    """Return the figures of a control in a line."""
    tests = [f"{each.test.id}: {each.measured}" for each in result.tests if each.status != "not-applicable"]
    people = [f"{each.id}: {each.status}" for each in result.person]
    return "; ".join([*tests, *people]) or result.reason


def bound(result: ControlResult) -> str:
    """Return whether and from when a control binds."""
    if not result.in_force:
        return "no date known"
    return f"since {result.in_force}" if result.binding else f"from {result.in_force}; until then this is preparation"


def moment(value: object) -> str:
    """Return a time of a population (UNIX nanoseconds) for people; empty for none."""
    if not isinstance(value, int) or isinstance(value, bool):
        return ""
    return datetime.fromtimestamp(value // NANOSECONDS, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def span(seconds: int) -> str:
    """Return a length of time in days and hours."""
    days, rest = divmod(max(0, seconds), 86_400)
    hours = rest // 3600
    return f"{days} days {hours} hours" if days else f"{hours} hours {rest % 3600 // 60} minutes"


def signature() -> Section:
    """Return the place where somebody answers for a document."""
    return Section(
        "Signature",
        (
            Missing("name and function of whoever signs, place and date"),
            paragraph("The figures were filled in from a signed log; whoever signs answers for all else."),
        ),
    )
