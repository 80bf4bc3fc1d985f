"""The Merkle root (RFC 6962, section 2.1) over the lines of a file, while they are written."""

from hashlib import sha256

from audit.tlog.merkle import EMPTY_ROOT, node_hash


class RootHasher:
    """Takes lines, and knows the root over them; as many hashes are kept as the tree is high.

    Attributes:
        count: lines taken.
    """

    def __init__(self) -> None:
        self.count = 0
        self._stack: list[bytes] = []

    def take(self, line: bytes) -> None:
        """Take a line, without its end."""
        node, number = sha256(b"\x00" + line).digest(), self.count
        while number & 1:
            node = sha256(b"\x01" + self._stack.pop() + node).digest()
            number >>= 1
        self._stack.append(node)
        self.count += 1

    def root(self) -> bytes:
        """Return the root over what was taken (32 bytes)."""
        if not self._stack:
            return EMPTY_ROOT
        *rest, node = self._stack
        for left in reversed(rest):
            node = node_hash(left, node)
        return node
