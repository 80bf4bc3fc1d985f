"""The gateway as the making of a package sees it: its log, keys, register, policies and versions."""

import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.anchors.archive import TimestampArchive
from audit.anchors.timestamps import TimestampAuthority, load_roots
from audit.chain import Linked
from audit.export.source import Source, open_source
from audit.log import append_once
from audit.retention import Journal, Segment
from audit.tlog.checkpoint import parse_checkpoint
from audit.tlog.note import note_text
from compliance.evaluation.result import Evaluation
from compliance.package.errors import RefusedError
from compliance.package.facts import Data
from compliance.package.question import Question
from compliance.package.records import Records
from compliance.package.world import Progress, Surroundings
from gateway import __version__
from gateway.app import checked_audit_store, open_audit_store, policy_store
from gateway.clock import NANOSECONDS, system_clock
from gateway.config import GatewayConfig, config_digest
from gateway.covering import covering
from gateway.errors import ConfigError
from gateway.evidence_key import DIRECTORY, EvidenceKey
from gateway.evidence_public_keys import log_key, public_keys
from gateway.policy_activation.store import Activation, PolicyStore
from gateway.retention import JOURNAL

TIMEOUT_SECONDS = 30.0
"""How long a time stamp authority may take (seconds)."""

_COMPONENTS = ("cryptography", "orjson", "regorus", "sqlalchemy", "pydantic")

Extract = Callable[[Source, Path, Progress], Data]
Evaluate = Callable[[Data, Source], Evaluation]


@dataclass(frozen=True, slots=True)
class Measures:
    """What the populations are made and judged with.

    Attributes:
        extract: makes the populations.
        evaluate: decides the controls.
        register: AI systems by name, as plain data.
    """

    extract: Extract
    evaluate: Evaluate
    register: Mapping[str, Mapping[str, Any]]


class GatewayWorld:
    """One gateway, for one package.

    Args:
        config: its configuration.
        question: what the package is asked for.
        operator: who exports, as in `operator:ada`.
        key: the key of evidence.
        measures: what the populations are made and judged with.
    """

    def __init__(
        self, config: GatewayConfig, question: Question, operator: str, key: EvidenceKey, measures: Measures
    ) -> None:
        self._config = config
        self._question = question
        self._operator = operator
        self._key = key
        self._measures = measures
        self._store = open_audit_store(config)
        self._size = 0
        self._deleted = _last_deleted(config)

    @property
    def commitments(self) -> Path:
        """Directory where commitments are kept."""
        return self._config.audit_dir / DIRECTORY / "commitments"

    @property
    def key(self) -> Ed25519PrivateKey:
        """The key that signs packages."""
        return self._key.private

    def pseudonym_key(self, question_digest: str) -> bytes:
        """Return the secret that names are replaced with."""
        return self._key.pseudonyms(question_digest)

    def source(self, note: bytes | None) -> Source:
        """Return the log as a signed checkpoint says."""
        return open_source(self._store, self._config.audit_tree, note)

    def extract(self, source: Source, database: Path, progress: Progress) -> Data:
        """Return the populations.

        Raises:
            RefusedError: retention deleted records of the period.
        """
        self._size = source.checkpoint.size
        self._refuse_deleted(source)
        return self._measures.extract(source, database, progress)

    def evaluate(self, data: Data, source: Source) -> Evaluation:
        """Return the controls, decided."""
        return self._measures.evaluate(data, source)

    def surroundings(self, data: Data) -> Surroundings:
        """Return what is known of the gateway besides its log."""
        config, store = self._config, policy_store(self._config)
        history = store.history().activations
        missing = [] if config.audit.witnesses.policy_file else ["Witnesses: none cosigns the checkpoints of this log."]
        if not config.audit.timestamps.url:
            missing.append("Time stamps (RFC 3161): none is configured.")
        if not config.audit.copies.endpoint:
            missing.append("Locked copies of the log elsewhere: none is configured.")
        witnesses = config.audit.witnesses.policy_file
        return Surroundings(
            gateway=config.trust_domain,
            exporter=self._operator,
            register=self._measures.register,
            policies=tuple(_policies(history, self._question)),
            bundles={(each.revision, each.data_digest): each.digest for each in history if _has(store, each.digest)},
            keys=public_keys(config, self.key.public_key()),
            log_key=log_key(config),
            configuration_digest=config_digest(config),
            unsafe_options=_unsafe(data, config),
            versions=_versions(),
            witness_policy=witnesses.read_text() if witnesses is not None else "",
            sealed=self._deleted.note if self._deleted is not None else b"",
            timestamps=self._timestamps(),
            missing=tuple(missing),
        )

    def commit(self, fields: dict[str, Any]) -> Linked:
        """Put `evidence.committed` on record."""
        store = checked_audit_store(self._config, "govctl")
        fields = {"principal": self._operator, **fields}
        return append_once(store, "govctl", "evidence.committed", fields, system_clock)

    def covering(self, record: Linked) -> bytes:
        """Return a signed checkpoint that covers a record, waiting for the gateway to sign one."""
        return covering(self._config, self._store, record).note

    def bundle(self, digest: str) -> bytes | None:
        """Return a bundle of policies."""
        try:
            return policy_store(self._config).get(digest)
        except ConfigError:
            return None

    def stamp(self, envelope: bytes) -> bytes:
        """Return an RFC 3161 answer of the envelope; empty where none is configured."""
        if not self._config.audit.timestamps.url:
            return b""
        stamps = self._config.audit.timestamps
        tls = ssl.create_default_context(cafile=stamps.ca_file) if stamps.ca_file is not None else None
        roots = load_roots(stamps.roots_file) if stamps.roots_file is not None else []
        authority = TimestampAuthority(stamps.url, roots, timeout=TIMEOUT_SECONDS, tls=tls)
        try:
            return authority.stamp(envelope)
        finally:
            authority.close()

    def _refuse_deleted(self, source: Source) -> None:
        if self._deleted is None:
            return
        end = self._deleted.end
        with Records(source) as records:
            first = records.at(end) if end < source.checkpoint.size else None
        if first is None or first.time_ns > self._question.period.start_ns:
            since = time.strftime("%Y-%m-%d", time.gmtime((first.time_ns if first else 0) // NANOSECONDS))
            raise RefusedError(
                f"the period begins before what the log still has: retention deleted records from before {since}. "
                "Ask for a period that begins after that day"
            )

    def _timestamps(self) -> dict[str, bytes]:
        """Return the latest time stamp of a checkpoint that the package's tree continues, with that checkpoint."""
        latest: dict[str, bytes] = {}
        for kept in TimestampArchive(self._config.audit_dir / "timestamps").all():
            if parse_checkpoint(note_text(kept.note)).size <= self._size:
                latest = {"checkpoint": kept.note, "checkpoint.tsr": kept.response}
        return latest


def _last_deleted(config: GatewayConfig) -> Segment | None:
    """Return the last segment that retention deleted; None if nothing was."""
    if not (config.audit_dir / JOURNAL).exists():
        return None
    book = Journal(config.audit_dir / JOURNAL, config.audit_log, system_clock).read()
    return book.segments[book.deleted - 1] if book.deleted else None


def _policies(history: tuple[Activation, ...], question: Question) -> list[dict[str, Any]]:
    """Return the activations that were in force at some time of the period, the oldest first."""
    start, end = (each // NANOSECONDS for each in (question.period.start_ns, question.period.end_ns))
    found = []
    for place, each in enumerate(history):
        until = history[place + 1].time if place + 1 < len(history) else end
        if each.time < end and until > start:
            change = each.change.model_dump(mode="json")
            found.append(
                {
                    "revision": each.revision,
                    "data_digest": each.data_digest,
                    "bundle_digest": each.digest,
                    "activated_at": each.time,
                    "activated_by": each.by,
                    "source": each.source,
                    "rollback": each.rollback,
                    "reason": each.reason,
                    "author": str(change.get("author", "")),
                    "approvers": list(change.get("approvers", ())),
                    "commit": str(change.get("commit", "")),
                }
            )
    return found


def _has(store: PolicyStore, digest: str) -> bool:
    return store.path(digest).exists()


def _unsafe(data: Data, config: GatewayConfig) -> tuple[str, ...]:
    """Return the options named unsafe that the log names in the period, and those of the configuration now."""
    options = set(config.unsafe_options())
    if "unsafe_options" in data.populations:
        options.update(str(row["option"]) for row in data.rows("unsafe_options"))
    return tuple(sorted(options))


def _versions() -> dict[str, str]:
    found = {"govgateway": __version__}
    for name in _COMPONENTS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
