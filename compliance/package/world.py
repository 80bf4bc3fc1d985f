"""What the making of a package asks of the gateway that it is made in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.chain import Linked
from audit.export.source import Source
from compliance.evaluation.result import Evaluation
from compliance.package.facts import Data, KeyFacts

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many units of it are done, and of how many (0: unknown)."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known of the gateway besides its log.

    Attributes:
        gateway: its name.
        register: the AI systems, by name, as plain data.
        policies: revisions in force in the period (see `Facts.policies`).
        bundles: SHA-256 (hex) of bundles by revision and digest of their data.
        keys: public keys and certificates in use.
        log_key: the log's public key (C2SP verifier key), for information.
        configuration_digest: SHA-256 of the configuration (hex).
        unsafe_options: options named unsafe that were in use in the period.
        versions: version by component.
        exporter: who exports.
        witness_policy: C2SP tlog-policy; empty for none.
        sealed: signed checkpoint of the last segment that retention deleted; empty for none.
        timestamps: RFC 3161 answers of checkpoints and what they are of, by name.
        missing: what the package lacks, in sentences.
    """

    gateway: str
    exporter: str
    register: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    policies: tuple[Mapping[str, Any], ...] = ()
    bundles: Mapping[tuple[str, str], str] = field(default_factory=dict)
    keys: tuple[KeyFacts, ...] = ()
    log_key: str = ""
    configuration_digest: str = ""
    unsafe_options: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    witness_policy: str = ""
    sealed: bytes = b""
    timestamps: Mapping[str, bytes] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


class World(Protocol):
    """The gateway, as far as a package needs it."""

    @property
    def commitments(self) -> Path:
        """Directory where commitments are kept."""

    @property
    def key(self) -> Ed25519PrivateKey:
        """The key that signs packages."""

    def pseudonym_key(self, question_digest: str) -> bytes:
        """Return the secret that names are replaced with in packages of this question (32 bytes)."""

    def source(self, note: bytes | None) -> Source:
        """Return the log as a signed checkpoint says; None: the latest one."""

    def extract(self, source: Source, database: Path, progress: Progress) -> Data:
        """Return the populations, extracted into a database; an interrupted extraction goes on."""

    def evaluate(self, data: Data, source: Source) -> Evaluation:
        """Return the controls, decided over the populations."""

    def surroundings(self, data: Data) -> Surroundings:
        """Return what is known of the gateway besides its log."""

    def commit(self, fields: dict[str, Any]) -> Linked:
        """Put `evidence.committed` on record, durably."""

    def covering(self, record: Linked) -> bytes:
        """Return a signed checkpoint that covers a record, waiting for it.

        Raises:
            ComplianceError: none came in time.
        """

    def bundle(self, digest: str) -> bytes | None:
        """Return a bundle of policies by its digest; None if it is not kept any more."""

    def stamp(self, envelope: bytes) -> bytes:
        """Return an RFC 3161 answer of the envelope; empty where none is configured."""
