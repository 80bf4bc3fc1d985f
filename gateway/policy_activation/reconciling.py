"""Tells log and history of the activations apart, after an end of the gateway between the two.

An activation is put on record first and into the history next; whoever dies in between leaves a log that names a
revision which never decided. A start that activates has it the other way round. The next start finds either, and says
on record what is so: the history decides, the log is what is corrected.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from heapq import merge
from typing import Any

import orjson
import structlog

from audit.errors import AuditStoreError
from audit.store import AuditStore, ChainReader, StoredRecord
from gateway.clock import NANOSECONDS
from gateway.policy_activation.store import Activation, History

_log = structlog.get_logger("govgateway.reconciling")

ACTIVATED, FAILED = "policy.activated", "policy.activation_failed"

CHAINS = ("control", "govctl")
"""The chains of those who activate: the running gateway, and govctl while none runs."""

_BATCH = 2000


@dataclass(frozen=True, slots=True)
class Correction:
    """A record that sets the log right.

    Attributes:
        type: `policy.activation_failed` or `policy.activated`.
        fields: what it says.
    """

    type: str
    fields: dict[str, Any]


def correction_of(store: AuditStore, found: History) -> Correction | None:
    """Return the record that sets the log right; None where log and history agree.

    Args:
        store: the audit log.
        found: the history as the start found it, before it activated anything itself.

    A chain that cannot be read counts as one without activations; `govctl audit verify` names it.
    """
    active = found.active
    if active is None:
        return None
    logged, failed = _last_logged(store)
    in_force = logged.replaced if failed == logged.digest else logged.digest
    if in_force == active.digest:
        return None
    if logged.replaced == active.digest and active.time <= logged.seconds:
        return Correction(FAILED, _never_took_place(logged, active))
    before = found.activations[-2] if len(found.activations) > 1 else None
    fields = active.record(before)
    fields["reason"] = f"{active.reason} (Recorded late: the gateway ended before it could be recorded.)".strip()
    return Correction(ACTIVATED, fields)


@dataclass(frozen=True, slots=True)
class _Logged:
    digest: str = ""
    replaced: str = ""
    revision: str = ""
    event_id: str = ""
    seconds: int = 0


def _last_logged(store: AuditStore) -> tuple[_Logged, str]:
    """Return the last activation on record, and the digest of one that is said after it to have failed."""
    failed = ""
    with ExitStack() as stack:
        readers = [stack.enter_context(store.reader(name)) for name in CHAINS if name in store.chains()]
        for row in merge(*map(_backwards, readers), key=lambda row: -row.time_ns):
            fields = _fields(row)
            digest = str(fields.get("bundle_digest", ""))
            if row.type == FAILED:
                failed = failed or digest
                continue
            replaced, policy = _part(fields, "replaced"), _part(fields, "policy")
            return _Logged(
                digest,
                str(replaced.get("bundle_digest", "")),
                str(policy.get("revision", "")),
                row.event_id,
                row.time_ns // NANOSECONDS,
            ), failed
    return _Logged(), failed


def _backwards(reader: ChainReader) -> Iterator[StoredRecord]:
    """Yield the records about activations, the latest first."""
    try:
        latest = reader.last(1)
        end = latest[0].sequence + 1 if latest else 0
        while end > 0:
            start = max(end - _BATCH, 0)
            rows = list(reader.records(start, stop=end))
            yield from (row for row in reversed(rows) if row.type in {ACTIVATED, FAILED})
            end = start if rows else 0
    except AuditStoreError as error:
        _log.error("audit-chain-unreadable", chain=reader.chain, cause=str(error))


def _fields(row: StoredRecord) -> dict[str, Any]:
    try:
        document = orjson.loads(row.record)
    except ValueError:  # 'govctl audit verify' names it; here it is a record of no revision
        return {}
    return document if isinstance(document, dict) else {}


def _part(fields: dict[str, Any], name: str) -> dict[str, Any]:
    part = fields.get(name)
    return part if isinstance(part, dict) else {}


def _never_took_place(logged: _Logged, active: Activation) -> dict[str, Any]:
    return {
        "principal": "start",
        "bundle_digest": logged.digest,
        "cause": (
            f"The gateway ended after the activation of {logged.revision or logged.digest} was recorded "
            f"({logged.event_id}) and before it took place. The revision {active.revision} ({active.digest}) stayed in "
            "force. Activate the other one again if it is wanted."
        ),
    }
