"""Time stamps and locked copies of the audit log's checkpoints, made beside the serving and never in its way."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from pathlib import Path

import structlog

from audit.anchors.archive import TimestampArchive
from audit.anchors.copying import LogCopier
from audit.anchors.errors import AnchorContradictsError
from audit.anchors.s3 import Bucket, S3ObjectStore
from audit.anchors.sigv4 import Credentials
from audit.anchors.timestamps import TimestampAuthority, load_roots
from audit.errors import AuditError, AuditUnavailableError
from audit.log import AuditLog
from audit.receipts import CHECKPOINT
from audit.tlog.tiles import DirectoryTiles
from gateway.clock import NANOSECONDS, system_clock
from gateway.config.anchors import LockedCopies, Timestamps
from gateway.config.model import GatewayConfig
from gateway.errors import ConfigError
from gateway.secrets.reference_store import ReferenceStore

_log = structlog.get_logger("govgateway.audit")

DAY = 86_400
TIMEOUT_SECONDS = 30.0

Anchor = Callable[[bytes], None]
"""Does something with a signed checkpoint, in a thread."""


class AuditAnchors:
    """Does its work again and again with the newest checkpoint.

    Attributes:
        problem: what contradicts this log; empty while nothing does.
    """

    def __init__(self, tree: Path, anchors: dict[str, tuple[float, Anchor]]) -> None:
        """`anchors`: how often (seconds) and what, by name."""
        self._tiles = DirectoryTiles(tree)
        self._anchors = anchors
        self._said: dict[str, str] = {}
        self.problem = ""

    async def run(self, audit: AuditLog) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name, (interval, anchor) in self._anchors.items():
                group.create_task(self._repeat(name, interval, anchor, audit))

    async def _repeat(self, name: str, interval: float, anchor: Anchor, audit: AuditLog) -> None:
        done = b""
        while True:
            problem = ""
            try:
                note = await asyncio.to_thread(self._tiles.read, CHECKPOINT)
                if note != done:
                    await asyncio.to_thread(anchor, note)
                    done = note
            except AnchorContradictsError as error:
                self.problem = problem = str(error)
                if self._said.get(name) != problem:
                    with contextlib.suppress(AuditUnavailableError):
                        audit.append("log.broken", {"cause": problem[:2000]})
            except (AuditError, OSError) as error:
                problem = str(error)
            except Exception as error:
                _log.exception("audit-anchor-failed", anchor=name)  # a defect must not end the anchoring unseen
                problem = f"{type(error).__name__}"
            if problem != self._said.get(name, ""):
                _log.error("audit-anchor", anchor=name, cause=problem) if problem else _log.info(
                    "audit-anchor", anchor=name, cause="none"
                )
                self._said[name] = problem
            await asyncio.sleep(interval)


def open_anchors(config: GatewayConfig) -> AuditAnchors | None:
    """Return what the configuration asks for; None without.

    Raises:
        ConfigError: a URL, a certificate or a reference is wrong.
    """
    anchors: dict[str, tuple[float, Anchor]] = {}
    try:
        if config.audit.timestamps.url:
            anchors["timestamps"] = _stamping(config, config.audit.timestamps)
        if config.audit.copies.endpoint:
            anchors["copies"] = _copying(config, config.audit.copies)
    except (AuditError, OSError, ValueError) as error:
        raise ConfigError(f"audit: {error}") from error
    return AuditAnchors(config.audit_tree, anchors) if anchors else None


def _stamping(config: GatewayConfig, section: Timestamps) -> tuple[float, Anchor]:
    assert section.roots_file is not None  # noqa: S101 - checked by the section
    authority = TimestampAuthority(
        section.url, load_roots(section.roots_file), timeout=TIMEOUT_SECONDS, tls=_tls(section.ca_file)
    )
    archive = TimestampArchive(config.audit_dir / "timestamps")

    def stamp(note: bytes) -> None:
        archive.keep(note, authority.stamp(note))

    return section.interval_seconds, stamp


def _copying(config: GatewayConfig, section: LockedCopies) -> tuple[float, Anchor]:
    references = ReferenceStore()

    def credentials() -> Credentials:
        access, secret = (references.read(each).reveal().decode() for each in (section.access_key, section.secret_key))
        return Credentials(access.strip(), secret.strip(), section.region, "s3")

    store = S3ObjectStore(
        Bucket(section.endpoint, section.bucket, section.mode),
        credentials,
        timeout=TIMEOUT_SECONDS,
        tls=_tls(section.ca_file),
    )
    cursor = config.audit_dir / "copies.json"
    tiles = DirectoryTiles(config.audit_tree)
    copier: list[LogCopier] = []

    def copy(note: bytes) -> None:
        if not copier:
            store.check()
            copier.append(
                LogCopier(
                    store,
                    tiles,
                    cursor,
                    prefix=section.prefix,
                    retention_seconds=section.retention_days * DAY,
                    clock=lambda: system_clock() // NANOSECONDS,
                )
            )
        copier[0].copy(note)

    return section.interval_seconds, copy


def _tls(ca_file: Path | None) -> ssl.SSLContext | None:
    return ssl.create_default_context(cafile=ca_file) if ca_file is not None else None
