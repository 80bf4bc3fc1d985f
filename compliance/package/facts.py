"""What is known when a package is written: everything that its parts may say, as plain data."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from compliance.evaluation.result import Evaluation
from compliance.period import Period
from compliance.populations.base import Population, Row


class Data(Protocol):
    """The populations of a period, in a database.

    Attributes:
        populations: what there is, by name.
    """

    @property
    def populations(self) -> Mapping[str, Population]: ...

    def rows(self, population: str, system: str = "") -> Iterator[Row]:
        """Yield the rows of a population in their order: by leaf, then as they were given out.

        Args:
            population: its name.
            system: only rows of this AI system, where the population has systems; empty: all rows.
        """

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query on the tables of the populations."""

    def leaves_by_type(self) -> Mapping[str, int]:
        """Return how many records of each type the log has in the period."""

    def window(self) -> tuple[int, int]:
        """Return the index of the period's first leaf, and that after its last."""


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """The signed tree that the package is of.

    Attributes:
        note: the signed note.
        size: records in the tree.
        root: its root (32 bytes).
        time_ns: time of its last record, UNIX nanoseconds: "now" for all that a package says.
    """

    note: bytes
    size: int
    root: bytes
    time_ns: int


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """A public key or certificate in use.

    Attributes:
        use: what it is for, e.g. "signs checkpoints of the audit log".
        public: its public part as text: PEM, or a verifier key of C2SP signed-note.
        fingerprint: SHA-256 of the public key or certificate (hex).
        not_after: end of its validity, UNIX seconds; 0 where it has none.
    """

    name: str
    use: str
    algorithm: str
    public: str
    fingerprint: str
    not_after: int = 0


@dataclass(frozen=True, slots=True)
class Reconciled:
    """A number of rows, compared with a number that was counted by something else.

    Attributes:
        what: what is counted, in words.
        rows: rows of the population.
        other: the other figure; None where nobody counted.
        source: who counted it.
        difference: rows less the other figure, and 0 without one.
        explanation: why they differ, or why there is no other figure.
    """

    what: str
    rows: int
    other: int | None
    source: str
    difference: int = 0
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class Ipe:
    """Information produced by the entity: how a population was made, so that anybody can make it again.

    Attributes:
        query: SQL over the extraction.
        parameters: of the query.
        code_version: version of the product.
        window: first and last moment, as RFC 3339 in UTC; the last is not included.
        rows: number of rows.
        first_leaf: lowest leaf of a row; -1 where rows have none.
        last_leaf: highest leaf of a row; -1 where rows have none.
        root: Merkle root (RFC 6962) over the lines of the JSON Lines file (hex).
        exporter: who exported it.
        run_ns: time of the checkpoint, UNIX nanoseconds.
    """

    population: str
    query: str
    parameters: Mapping[str, str]
    code_version: str
    window: tuple[str, str]
    rows: int
    first_leaf: int
    last_leaf: int
    root: str
    exporter: str
    run_ns: int
    reconciliation: tuple[Reconciled, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """A row or leaf that the seed drew.

    Attributes:
        population: that it was drawn from; `log` for a leaf of the window.
        place: its row, from 0; of `log`, its leaf.
        leaf: leaf of its record; -1 where no single record made the row.
        event_id: of that record; may be empty.
        found_in: of `log`: the population that the record has to be in; empty where none is about it.
        replayable: it has a recorded policy input and the bundle that decided.
    """

    population: str
    place: int
    leaf: int
    event_id: str
    type: str
    found_in: str = ""
    replayable: bool = False


@dataclass(frozen=True, slots=True)
class SpoiltCopy:
    """A copy of a part of the package that the verifier has to reject."""

    name: str
    says: str
    rejected_for: str


@dataclass(frozen=True, slots=True)
class Commitment:
    """What was recorded before the seed was used.

    Attributes:
        digest: SHA-256 of commitment.json (hex).
        event_id: of the record `evidence.committed`.
        time_ns: when it was recorded, UNIX nanoseconds.
    """

    digest: str
    event_id: str
    time_ns: int


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything about a package.

    Attributes:
        evaluation: the controls.
        system: the AI system; empty for the whole organisation.
        register_entry: the system's entry in the register, as plain data; empty without a system.
        register: all entries, by system.
        data: the populations.
        period: the days.
        origin: name of the log.
        gateway: name of the gateway in its configuration.
        checkpoint: the signed tree.
        commitment: what was recorded before the seed was used.
        seed: the auditor's seed; empty where none was given, so that nothing was drawn.
        policies: revisions in force in the period, the oldest first: revision, data_digest, bundle_digest, author,
            approvers, activated_at (UNIX seconds), activated_by, reason, rollback, held (the bundle is in the package).
        keys: public keys and certificates in use.
        fingerprint: SHA-256 of the public key that signs the package (hex of its SubjectPublicKeyInfo).
        configuration_digest: SHA-256 of the configuration as the log has it last (hex).
        unsafe_options: options named unsafe that were in use in the period.
        versions: version by component.
        exporter: who exported it.
        real_names: personal columns hold real names instead of pseudonyms.
        missing: what is not in the package and why, in sentences; COVERAGE.md lists them with all else.
        pseudonym: returns what stands for the name of a person in this package; the name itself with `real_names`.
    """

    evaluation: Evaluation
    system: str
    register_entry: Mapping[str, Any]
    register: Mapping[str, Mapping[str, Any]]
    data: Data
    period: Period
    origin: str
    gateway: str
    checkpoint: CheckpointFacts
    commitment: Commitment
    seed: str
    policies: tuple[Mapping[str, Any], ...]
    keys: tuple[KeyFacts, ...]
    fingerprint: str
    configuration_digest: str
    unsafe_options: tuple[str, ...]
    versions: Mapping[str, str]
    exporter: str
    real_names: bool
    ipe: tuple[Ipe, ...]
    samples: tuple[Sample, ...]
    spoilt: tuple[SpoiltCopy, ...]
    pseudonym: Callable[[str], str] = field(repr=False)
    missing: tuple[str, ...] = ()
