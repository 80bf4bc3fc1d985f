"""Reads recorded decisions out of the audit log, or out of records exported from it."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from audit.store import AuditStore, ChainReader, StoredRecord
from gateway.clock import NANOSECONDS
from gateway.errors import PolicyDeniedError
from gateway.policyreview.recorded import RecordedCall, RecordedError, chain_of, read_lines

REFUSALS = frozenset({"access.denied", "quota.exceeded"})
"""Types of the records of calls that went no further, whatever refused them."""

DECISIONS = frozenset({"access.intent", "admin.request"}) | REFUSALS
"""Types of the records that hold a policy input."""

OUTCOME = "access.outcome"

_LATE_RECORDS = 5000
"""Records read before the first one of the period: some are written later than they happened."""


def read_log(store: AuditStore, since: int = 0, until: int = 2**62) -> list[RecordedCall]:
    """Return the decisions that the log holds, one by one.

    Args:
        store: the log.
        since: the first moment (UNIX seconds).
        until: the moment after the last (UNIX seconds).

    Raises:
        AuditStoreError: a chain cannot be read.
        RecordedError: a record is not of the form that the gateway writes.
    """
    return list(_joined(_documents(store, since), since, until))


def read_records(path: Path, since: int = 0, until: int = 2**62) -> list[RecordedCall]:
    """Return the decisions in a file of exported records, one JSON object a line.

    Raises:
        RecordedError: names the file and the line.
    """
    lines = ((f"{path}:{number}", document) for number, document in read_lines(path))
    return list(_joined(lines, since, until))


def _documents(store: AuditStore, since: int) -> Iterator[tuple[str, dict[str, Any]]]:
    wanted = {*DECISIONS, OUTCOME}
    for chain in store.chains():
        with store.reader(chain) as reader:
            for record in reader.records(max(_sequence_at(reader, since) - _LATE_RECORDS, 0)):
                if record.type in wanted:
                    yield f"{chain}/{record.sequence}", _document(record)


def _sequence_at(reader: ChainReader, since: int) -> int:
    """Return the sequence of about the first record of the period, found without reading all of them."""
    last = reader.last(1)
    if not last or not since:
        return 0
    low, high = 0, last[0].sequence
    while low < high:
        middle = (low + high) // 2
        record = next(reader.records(middle, batch=1), None)
        if record is not None and record.time_ns < since * NANOSECONDS:
            low = middle + 1
        else:
            high = middle
    return low


def _document(record: StoredRecord) -> dict[str, Any]:
    try:
        document = orjson.loads(record.record)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise RecordedError(f"{record.chain}/{record.sequence} is not a record: govctl audit verify")
    return document


def _joined(documents: Iterable[tuple[str, dict[str, Any]]], since: int, until: int) -> Iterator[RecordedCall]:
    """Yield the decisions with the tokens that their outcomes, which come later, say were charged."""
    calls: list[tuple[str, RecordedCall]] = []
    charged: dict[str, int] = {}
    known: dict[bytes, bytes] = {}
    for place, document in documents:
        try:
            if document.get("type") == OUTCOME:
                charged[str(document.get("intent"))] = _charged(document)
                continue
            call = _call(document)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RecordedError(f"{place}: not a record of a decision: {error!s:.200}.") from None
        if call is not None and since <= call.time < until:
            chain = known.setdefault(call.chain, call.chain)
            event = str(document.get("event_id", ""))
            calls.append((event, RecordedCall(chain, call.time, call.first, decision=call.decision)))
    for event, call in calls:
        tokens = charged.get(event, 0)
        yield RecordedCall(call.chain, call.time, call.first, 1, tokens, call.decision) if tokens else call


def _call(document: dict[str, Any]) -> RecordedCall | None:
    if document.get("type") not in DECISIONS or not document.get("policy_input"):
        return None  # another record, or a call that was refused before it came to the policies
    time = int(document["time"]) // NANOSECONDS
    inputs = [document["policy_input"], *document.get("delegated_inputs", ())]
    return RecordedCall(chain_of(inputs), time, time, decision=_decided(document))


def _decided(document: dict[str, Any]) -> str:
    """Return what the policies decided: a call refused for another cause may have been allowed by them."""
    decision = document.get("decision", "")
    if decision == "deny" and document["type"] in REFUSALS and document["problem"] != PolicyDeniedError.slug:
        return ""
    return str(decision) if decision in {"allow", "deny"} else ""


def _charged(document: dict[str, Any]) -> int:
    tokens = document["usage"]["charged_tokens"]
    if type(tokens) is not int or tokens < 0:
        raise ValueError("usage.charged_tokens is not a number of tokens")
    return tokens
