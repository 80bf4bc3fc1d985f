"""Waits until the running gateway signed a tree that has a record in it."""

import time

import orjson

from audit.chain import Linked
from audit.export.source import Source, open_source
from audit.store.base import AuditStore
from audit.tree.state import TreeState
from compliance.errors import ComplianceError
from gateway.config import GatewayConfig

COVERING_SECONDS = 60.0
"""How long to wait for a signed checkpoint that covers a record (seconds)."""


def covering(config: GatewayConfig, store: AuditStore, record: Linked) -> Source:
    """Return the log as a signed checkpoint that covers a record says, waiting for the gateway to sign one.

    Raises:
        ComplianceError: none came in time.
    """
    deadline = time.monotonic() + COVERING_SECONDS
    chain = str(orjson.loads(record.record)["chain"])
    while True:
        source = open_source(store, config.audit_tree)
        with TreeState(config.audit_tree, readonly=True) as state:
            index = state.index_of(chain, record.sequence)
        if index is not None and index < source.checkpoint.size:
            return source
        if time.monotonic() > deadline:
            raise ComplianceError(
                "no signed checkpoint covers what was just recorded, and only the running gateway signs one. Start it "
                "(govctl up), and run the same command again"
            )
        time.sleep(0.2)
