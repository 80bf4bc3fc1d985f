"""Merkle trees (RFC 6962, section 2.1): hashes, and the verification of inclusion and consistency proofs."""

from collections.abc import Sequence
from hashlib import sha256

from audit.tlog.errors import ProofError

HASH_BYTES = 32

EMPTY_ROOT = sha256(b"").digest()
"""Root of the tree without leaves."""


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes, or over the roots of complete subtrees of one size."""
    if not hashes:
        return EMPTY_ROOT
    stack: list[tuple[int, bytes]] = []
    for each in hashes:
        level, node = 0, each
        while stack and stack[-1][0] == level:
            node = node_hash(stack.pop()[1], node)
            level += 1
        stack.append((level, node))
    root = stack.pop()[1]
    while stack:
        root = node_hash(stack.pop()[1], root)
    return root


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Verify that a leaf is in a tree (RFC 9162, section 2.1.3.2).

    Args:
        leaf: hash of the leaf.
        index: its index, from 0.
        size: leaves in the tree.
        proof: hashes from the leaf's sibling up.
        root: root of the tree.

    Raises:
        ProofError: the proof does not show it.
    """
    if not 0 <= index < size:
        raise ProofError(f"a tree of {size} leaves has no leaf {index}")
    _check_hashes([leaf, *proof])
    at, last, node = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofError("the inclusion proof is too long")
        if at & 1 or at == last:
            node = node_hash(sibling, node)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        at, last = at >> 1, last >> 1
    if last:
        raise ProofError("the inclusion proof is too short")
    if node != root:
        raise ProofError("the inclusion proof leads to another root")


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Verify that a tree continues an older one (RFC 9162, section 2.1.4.2); every tree continues the empty one.

    Args:
        old: leaves in the older tree.
        new: leaves in the newer one.
        proof: the consistency proof.
        old_root: root of the older tree.
        new_root: root of the newer tree.

    Raises:
        ProofError: the proof does not show it.
    """
    if not 0 <= old <= new:
        raise ProofError(f"a tree of {new} leaves does not continue one of {old}")
    _check_hashes(proof)
    if old in {0, new}:
        if proof:
            raise ProofError("the consistency proof is too long")
        if old_root != (EMPTY_ROOT if old == 0 else new_root) or (new == 0 and new_root != EMPTY_ROOT):
            raise ProofError("two trees of the same size have different roots")
        return
    if _climbed(old, new, proof, old_root) != (old_root, new_root):
        raise ProofError("the consistency proof leads to other roots")


def _check_hashes(hashes: Sequence[bytes]) -> None:
    """Refuse what is no hash: of two neighbours that are not, the border could be moved, and their parent stay."""
    if any(len(each) != HASH_BYTES for each in hashes):
        raise ProofError(f"a hash in a proof has {HASH_BYTES} bytes")


def _climbed(old: int, new: int, proof: Sequence[bytes], old_root: bytes) -> tuple[bytes, bytes]:
    """Return the two roots that a consistency proof leads to."""
    hashes = list(proof)
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    if at:
        if not hashes:
            raise ProofError("the consistency proof is too short")
        first = second = hashes.pop(0)
    else:
        first = second = old_root
    for node in hashes:
        if last == 0:
            raise ProofError("the consistency proof is too long")
        if at & 1 or at == last:
            first, second = node_hash(node, first), node_hash(node, second)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            second = node_hash(second, node)
        at, last = at >> 1, last >> 1
    if last:
        raise ProofError("the consistency proof is too short")
    return first, second
