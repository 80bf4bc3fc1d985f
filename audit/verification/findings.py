"""What a verification says: findings, what was explained, and a report for each chain."""

from dataclasses import dataclass, field

from audit.chain import Head


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        rule: of a chain `link`, `hash`, `form`, `fields`, `log`, `sequence`, `column`, `duplicate-id`, `time`,
            `outcome-without-intent`, `intent-without-outcome`, `beginning`, `shortened`, `head`, `unreadable`;
            of the tree `checkpoint`, `signature`, `cosignatures`, `tile`, `root`, `leaf`, `order`, `chain-head`,
            `consistency`.
        chain: the chain; empty for the tree.
        sequence: the record, or the leaf of the tree; -1 for the whole.
        message: what is wrong, in words.
    """

    rule: str
    chain: str
    sequence: int
    message: str


@dataclass(frozen=True, slots=True)
class Explained:
    """An intent without an outcome, and the record that says why there is none.

    Attributes:
        intent: event id of the intent.
        sequence: its place in its chain.
        by: type of the record that explains it.
        by_event_id: event id of that record.
    """

    intent: str
    sequence: int
    by: str
    by_event_id: str


@dataclass(slots=True)
class ChainReport:
    """What was found in one chain.

    Attributes:
        start: sequence number of the first record that was to be read; beyond 0 where the beginning was deleted by
            retention, or had been verified before.
        kept_from: first record that retention has left; an outcome after it may lack its intent.
        records: number of records read.
        head: the end that was reached.
        time_ns: time of the last record.
        greatest_id: the greatest event id so far.
        open_calls: intents without an outcome and without an explanation, with their places: calls under way.
        explained: intents without an outcome for which another record says why.
        before_start: outcomes whose intents would stand before the beginning that is left.
    """

    chain: str
    start: int = 0
    kept_from: int = 0
    records: int = 0
    head: Head = field(default_factory=Head)
    time_ns: int = 0
    greatest_id: str = ""
    findings: list[Finding] = field(default_factory=list)
    open_calls: dict[str, "OpenIntent"] = field(default_factory=dict)
    explained: list[Explained] = field(default_factory=list)
    before_start: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong. Open intents are no fault of the chain."""
        return not self.findings

    @property
    def open_intents(self) -> list[str]:
        """Event ids of the open calls."""
        return list(self.open_calls)

    def note(self, rule: str, sequence: int, message: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(rule, self.chain, sequence, message))


@dataclass(frozen=True, slots=True)
class OpenIntent:
    """Where an intent without an outcome stands, and its time (UNIX, nanoseconds)."""

    sequence: int
    time_ns: int
