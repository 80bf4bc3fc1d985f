"""Segments of a log: stretches of the tree, each closed by a signed checkpoint that binds the end of every chain. Pure.

A checkpoint's extension lines name, for each chain, how many records it had and the hash of the last. What of a chain
lies in a segment is thus what lies between two checkpoints, and a chain whose beginning was deleted is still anchored:
its first kept record names the hash that the last deleted segment's checkpoint bound.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from audit.chain import Head, is_chain_name
from audit.retention.errors import RetentionError
from audit.tlog.checkpoint import Checkpoint

_LINE = re.compile(r"chain ([a-z0-9-]+) ([1-9][0-9]*) ([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Segment:
    """Leaves `start` to `end`, without `end`, of the tree.

    Attributes:
        number: from 1, in order.
        root: root of the tree of size `end` (hex).
        before: end of each chain at `start`.
        heads: end of each chain at `end`.
        note: the signed checkpoint of size `end`.
        sealed_ns: when it was closed (UNIX nanoseconds).
    """

    number: int
    start: int
    end: int
    root: str
    before: Mapping[str, Head]
    heads: Mapping[str, Head]
    note: bytes
    sealed_ns: int

    def ranges(self) -> list[tuple[str, int, int]]:
        """Return (chain, first sequence number, one after the last) of each chain that has records in it."""
        found = []
        for chain, head in sorted(self.heads.items()):
            first = self.before.get(chain, Head()).sequence + 1
            if head.sequence >= first:
                found.append((chain, first, head.sequence + 1))
        return found

    @property
    def records(self) -> int:
        """Number of records in it."""
        return self.end - self.start


def heads_of(checkpoint: Checkpoint) -> dict[str, Head]:
    """Return the end of each chain that a checkpoint binds.

    Raises:
        RetentionError: a line is not of this form, or the chains do not add up to the tree.
    """
    heads: dict[str, Head] = {}
    for line in checkpoint.extensions:
        if not line.startswith("chain "):
            continue
        match = _LINE.fullmatch(line)
        if match is None or not is_chain_name(match[1]) or match[1] in heads:
            raise RetentionError(f"the checkpoint of size {checkpoint.size} has a line that is none: {line[:80]!r}")
        heads[match[1]] = Head(int(match[2]) - 1, match[3])
    if sum(head.sequence + 1 for head in heads.values()) != checkpoint.size:
        raise RetentionError(f"the chains of the checkpoint of size {checkpoint.size} do not add up to the tree")
    return heads


def next_segment(last: Segment | None, checkpoint: Checkpoint, note: bytes, log: str, sealed_ns: int) -> Segment:
    """Return the segment that a checkpoint closes.

    Args:
        last: the segment before, if any.
        checkpoint: as verified.
        note: the signed note that it is of.
        log: name of the log.
        sealed_ns: now.

    Raises:
        RetentionError: it is another log's, closes nothing new, or a chain went backwards.
    """
    if checkpoint.origin != log:
        raise RetentionError(f"the checkpoint is of {checkpoint.origin}, not of {log}")
    start = last.end if last is not None else 0
    if checkpoint.size <= start:
        raise RetentionError(f"nothing was added to the tree since the last segment was closed at {start}")
    heads, before = heads_of(checkpoint), last.heads if last is not None else {}
    for chain, head in before.items():
        now = heads.get(chain)
        if now is None or now.sequence < head.sequence or (now.sequence == head.sequence and now.hash != head.hash):
            raise RetentionError(
                f"the chain {chain} ends before the last segment does: the checkpoint is another tree's"
            )
    number = last.number + 1 if last is not None else 1
    return Segment(number, start, checkpoint.size, checkpoint.root.hex(), before, heads, note, sealed_ns)
