"""What is issued goes into the inventory and into the audit log before anybody has it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from identity.entries import Entry
from identity.registry import NewSvid, Registry

Record = Callable[[str, dict[str, Any]], Awaitable[None]]
"""Writes an audit record and returns once it is durable; raises an `IdentityError` if it cannot."""


@dataclass(frozen=True, slots=True)
class Issued:
    """Something that was signed and is not handed out yet.

    Attributes:
        entry: the registration entry that grants it.
        serial: serial number of a certificate (hex), or `jti` of a token.
        not_after: UNIX seconds.
        authority_id: who signed it.
        kind: `x509-svid` or `jwt-svid`.
        more: further fields of the audit record.
    """

    entry: Entry
    serial: str
    not_after: int
    authority_id: str
    kind: str
    more: Mapping[str, Any] = field(default_factory=dict)


async def put_on_record(issued: Sequence[Issued], node_id: str, registry: Registry, record: Record) -> None:
    """Note all, or raise; only then may they be handed out.

    Args:
        issued: what was signed.
        node_id: SPIFFE ID of the node that it is issued to or through.
        registry: the inventory.
        record: writes the audit log.

    Raises:
        IdentityError: something is revoked, or cannot be put on record.
    """
    rows = [
        NewSvid(each.serial, each.entry.spiffe_id, each.not_after, each.entry.entry_id, node_id, each.authority_id)
        for each in issued
    ]
    await asyncio.to_thread(registry.record_svids, rows)
    await asyncio.gather(*(record("identity.issued", _fields(each, node_id)) for each in issued))


def _fields(issued: Issued, node_id: str) -> dict[str, Any]:
    return {
        "agent": issued.entry.spiffe_id,
        "svid": issued.kind,
        "serial": issued.serial,
        "not_after": issued.not_after,
        "entry": issued.entry.entry_id,
        "parent": node_id,
        "authority": issued.authority_id,
        **issued.more,
    }
