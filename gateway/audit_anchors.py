"""Time stamps and locked copies of the audit log's checkpoints, made beside the serving and never in its way."""

import asyncio
import contextlib
import ssl
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from audit.anchors.archive import TimestampArchive
from audit.anchors.checking import AnchorReport, check_copies, check_timestamps
from audit.anchors.copying import LogCopier
from audit.anchors.errors import AnchorContradictsError, AnchorError
from audit.anchors.keeping import AnchorKeeper, Duty, copying, stamping
from audit.anchors.s3 import Bucket, S3ObjectStore
from audit.anchors.sigv4 import Credentials
from audit.anchors.timestamps import TimestampAuthority, load_roots
from audit.errors import AuditError, AuditUnavailableError
from audit.log import AuditLog
from audit.receipts import CHECKPOINT
from audit.tlog.note import NoteVerifier, parse_verifier_key
from audit.tlog.tiles import DirectoryTiles, TileTree
from audit.tree.state import FILE_NAME, TreeState
from gateway.audit_keys import VERIFIER_FILE
from gateway.clock import NANOSECONDS, system_clock
from gateway.config.model import GatewayConfig
from gateway.errors import ConfigError
from gateway.secrets.opening import secret_store

_log = structlog.get_logger("govgateway.audit")

DAY = 86_400
TIMEOUT_SECONDS = 30.0
STEP_SECONDS = 5.0
LATE_SECONDS = 3600.0
"""How long past its interval a stamp or a copy may be before the gateway is not ready (seconds)."""


class AuditAnchors:
    """Stamps and copies the log of one gateway."""

    def __init__(self, config: GatewayConfig) -> None:
        """Open what the configuration asks for.

        Raises:
            ConfigError: a URL, a certificate or a reference is wrong.
        """
        self._config = config
        self._tiles = DirectoryTiles(config.audit_tree)
        self._stopping = threading.Event()
        self._contradiction = self._said = ""
        duties: list[Duty] = []
        try:
            stamps, copies = config.audit.timestamps, config.audit.copies
            self._archive = TimestampArchive(config.audit_dir / "timestamps")
            self._roots = load_roots(stamps.roots_file) if stamps.roots_file is not None else []
            if stamps.url:
                tls = _tls(stamps.ca_file)
                authority = TimestampAuthority(stamps.url, self._roots, timeout=TIMEOUT_SECONDS, tls=tls)
                duties.append(stamping(authority, self._archive, stamps.interval_seconds))
            self._store = _store(config) if copies.endpoint else None
            if self._store is not None:
                copier = LogCopier(
                    self._store,
                    self._tiles,
                    config.audit_dir / "copy.cursor",
                    prefix=copies.prefix,
                    retention_seconds=copies.retention_days * DAY,
                    clock=lambda: system_clock() // NANOSECONDS,
                )
                duties.append(copying(copier, self._store.name, copies.interval_seconds, self._stopping.is_set))
        except (AuditError, OSError, ValueError) as error:
            raise ConfigError(f"audit: {error}") from error
        self._keeper = AnchorKeeper(duties, time.monotonic)

    @property
    def problem(self) -> str:
        """Why the gateway is not ready on account of its anchors; empty while it is."""
        return self._contradiction or self._keeper.problem(LATE_SECONDS)

    async def begin(self) -> None:
        """Compare the log with what is kept outside, before anything is added to it.

        Raises:
            AnchorContradictsError: what is kept outside is more, or of another log.
            ConfigError: the bucket does not lock objects.
        """
        await asyncio.to_thread(self._compare)

    def compare(self, keys: Sequence[NoteVerifier]) -> dict[str, AnchorReport]:
        """Compare the log with everything that is kept outside.

        Args:
            keys: the log's public keys.

        Raises:
            AnchorContradictsError: the log does not continue a checkpoint.
            AnchorError: a keeper does not answer, or a tile of the log is missing.
            AuditStoreError: the log has no tree.
        """
        with TreeState(self._config.audit_tree, readonly=True) as state:
            tree = TileTree(self._tiles, state.size)
        reports = {}
        if self._config.audit.timestamps.url:
            reports["time stamps"] = check_timestamps(self._archive, self._roots, keys, tree)
        if self._store is not None:
            reports["locked copies"] = check_copies(self._store, self._config.audit.copies.prefix, keys, tree)
        return reports

    async def run(self, audit: AuditLog) -> None:
        """Work until cancelled."""
        try:
            while True:
                await self._step(audit)
                await asyncio.sleep(STEP_SECONDS)
        finally:
            self._stopping.set()

    async def _step(self, audit: AuditLog) -> None:
        problem = ""
        try:
            await asyncio.to_thread(self._act)
            problem = self._keeper.problem(0)
        except AnchorContradictsError as error:
            if not self._contradiction:
                with contextlib.suppress(AuditUnavailableError):
                    audit.append("log.broken", {"cause": str(error)[:2000]})
            self._contradiction = problem = str(error)
        except (AuditError, OSError) as error:
            problem = str(error)
        except Exception as error:
            _log.exception("audit-anchors-failed")  # a defect must not end the anchoring unseen
            problem = type(error).__name__
        if problem != self._said:
            _log.error("audit-anchors", cause=problem) if problem else _log.info("audit-anchors", cause="none")
            self._said = problem

    def _act(self) -> None:
        self._keeper.step(self._tiles.read(CHECKPOINT))

    def _compare(self) -> None:
        config = self._config
        try:
            if self._store is not None:
                self._store.check()
        except AnchorError as error:
            raise ConfigError(f"audit.copies: {error}") from error
        if not (config.audit_tree / FILE_NAME).exists():
            return
        with TreeState(config.audit_tree, readonly=True) as state:
            tree = TileTree(self._tiles, state.size)
        keys = _keys(config.audit_dir / VERIFIER_FILE)
        check_timestamps(self._archive, self._roots, keys, tree)
        if self._store is not None:
            check_copies(self._store, config.audit.copies.prefix, keys, tree, above=tree.size)


def _keys(path: Path) -> list[NoteVerifier]:
    return [parse_verifier_key(line) for line in path.read_text().split()] if path.exists() else []


def _store(config: GatewayConfig) -> S3ObjectStore:
    copies, references = config.audit.copies, secret_store(config)

    def credentials() -> Credentials:
        access, secret = (references.read(each).reveal().decode() for each in (copies.access_key, copies.secret_key))
        return Credentials(access.strip(), secret.strip(), copies.region, "s3")

    bucket = Bucket(copies.endpoint, copies.bucket, copies.mode)
    return S3ObjectStore(bucket, credentials, timeout=TIMEOUT_SECONDS, tls=_tls(copies.ca_file))


def _tls(ca_file: Path | None) -> ssl.SSLContext | None:
    return ssl.create_default_context(cafile=ca_file) if ca_file is not None else None
