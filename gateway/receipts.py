"""What a caller gets to hold against the log: the header that names its record, and the route that proves it.

The header is made once the record is durable, so its hash is final. Who keeps it can show later that the record was
there, also against a log that was written anew and signed with the right key.
"""

import asyncio
from base64 import b64encode
from pathlib import Path
from typing import Any

import orjson

from audit.chain import Linked
from audit.errors import AuditError
from audit.event_id import uuid7
from audit.receipts import Receipt, ReceiptPendingError, prove
from audit.store import AuditStore
from gateway.clock import Clock
from gateway.errors import NotFoundError, TooManyRefusalsError, UnavailableError
from gateway.exchange import Exchange
from gateway.refusal_budget import RefusalBudget

PATH = "/receipts/"

AT_ONCE = 4
"""Receipts that one worker makes at a time; each reads the disk."""


def receipt_header(log: str, chain: str, linked: Linked) -> tuple[bytes, bytes]:
    """Return `X-Audit-Receipt`: a structured field (RFC 9651, section 3.3), the event id with its place and hash."""
    digest = b64encode(bytes.fromhex(linked.hash)).decode()
    value = f'"{linked.event_id}";log="{log}";chain="{chain}";seq={linked.sequence};sha256=:{digest}:'
    return (b"x-audit-receipt", value.encode())


class Receipts:
    """Makes receipts for those whose calls they are about."""

    def __init__(self, store: AuditStore, directory: Path, retry_seconds: float, clock: Clock) -> None:
        """`directory` is the log's tree; `retry_seconds`: when a record is likely to be in it."""
        self._budget = RefusalBudget(clock)
        self._store = store
        self._directory = directory
        self._retry_after = max(1, round(retry_seconds))
        self._slots = asyncio.Semaphore(AT_ONCE)

    def take(self, exchange: Exchange) -> bool:
        """Whether this call asks for a receipt."""
        return exchange.method == "GET" and exchange.path.startswith(PATH)

    async def answer(self, exchange: Exchange) -> None:
        """Answer with the receipt of a call that the caller made: proof of what it knows already, so no decision.

        Raises:
            NotFoundError: there is none for this caller, or not yet.
            TooManyRefusalsError: it asked for too many.
            UnavailableError: the log cannot be read.
        """
        assert exchange.peer is not None  # noqa: S101 - the pipeline's first step
        if not self._budget.take(exchange.peer.id):
            raise TooManyRefusalsError(
                f"{exchange.peer.id} asked for too many receipts.",
                remedy="Ask for ten a second at most.",
                code="too_many_receipts",
                headers=((b"retry-after", b"1"),),
            )
        body = await self.make(exchange.path.removeprefix(PATH), exchange.peer.id)
        exchange.request_id = uuid7()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", exchange.request_id.encode()),
        ]
        await exchange.start(200, headers)
        await exchange.write(body, more=False)

    async def make(self, event_id: str, principal: str) -> bytes:
        """Return the receipt of a record as JSON.

        Raises:
            NotFoundError: there is none for this principal, or not yet.
            UnavailableError: the log cannot be read.
        """
        async with self._slots:
            try:
                receipt = await asyncio.to_thread(prove, self._store, self._directory, event_id)
            except ReceiptPendingError as error:
                raise NotFoundError(
                    f"{str(error).capitalize()}.",
                    remedy=f"Ask again in {self._retry_after} seconds.",
                    code="receipt_pending",
                    headers=((b"retry-after", b"%d" % self._retry_after),),
                ) from error
            except AuditError as error:
                raise UnavailableError(f"The audit log cannot be read: {error}.", code="audit_unavailable") from error
        if receipt is None or not _is_about(receipt, principal):
            # One answer for both: nobody learns which records others have.
            raise NotFoundError(
                f"You made no call with the id {event_id}.",
                remedy="Ask for the id in X-Audit-Receipt of your own answer.",
                code="receipt_unknown",
            )
        return orjson.dumps(document(receipt))


def document(receipt: Receipt) -> dict[str, Any]:
    """Return a receipt as JSON shows it: the record's exact text, and its proof as C2SP tlog-proof has it."""
    record = receipt.record
    return {
        "event_id": record.event_id,
        "chain": record.chain,
        "sequence": record.sequence,
        "hash": record.hash,
        "index": receipt.index,
        "record": record.record.decode(),
        "proof": receipt.proof.decode(),
    }


def _is_about(receipt: Receipt, principal: str) -> bool:
    recorded = orjson.loads(receipt.record.record)
    return principal == recorded.get("principal") or principal in recorded.get("delegation", ())
