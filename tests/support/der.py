"""DER as a tree that can be changed anywhere and written again with lengths that fit, and certificates signed anew."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

_CONSTRUCTED = 0x20
_OCTET_STRING, _BIT_STRING, _SEQUENCE = 0x04, 0x03, 0x30


@dataclass
class Node:
    """One value. An octet string that holds DER, as an extension does, has children too."""

    tag: int
    content: bytes
    children: list["Node"] = field(default_factory=list)

    def __iter__(self) -> Iterator["Node"]:
        """Yield this node and everything below it."""
        yield self
        for child in self.children:
            yield from child

    def write(self) -> bytes:
        """Return the encoding."""
        content = b"".join(child.write() for child in self.children) or self.content
        return bytes([self.tag]) + _length(len(content)) + content


def read(data: bytes) -> Node:
    """Read one value that fills `data`."""
    [node] = _read_all(data)
    return node


def certificate_of(tbs: bytes, like: x509.Certificate, sign: Callable[[bytes], bytes]) -> bytes:
    """Return a certificate of the changed content `tbs`, with the signature algorithm that `like` has."""
    _, algorithm, _ = read(like.public_bytes(Encoding.DER)).children
    return Node(_SEQUENCE, tbs + algorithm.write() + Node(_BIT_STRING, b"\0" + sign(tbs)).write()).write()


def _read_all(data: bytes) -> list[Node]:
    nodes = []
    while data:
        tag, size, data = data[0], data[1], data[2:]
        if size & 0x80:
            count = size & 0x7F
            size, data = int.from_bytes(data[:count]), data[count:]
        if size > len(data):
            raise ValueError("the value is cut off")
        content, data = data[:size], data[size:]
        nodes.append(Node(tag, content, _children(tag, content)))
    return nodes


def _children(tag: int, content: bytes) -> list[Node]:
    if tag & _CONSTRUCTED:
        return _read_all(content)
    if tag == _OCTET_STRING:
        try:
            nested = _read_all(content)
        except (ValueError, IndexError):
            return []
        if b"".join(node.write() for node in nested) == content:
            return nested
    return []


def _length(size: int) -> bytes:
    if size < 0x80:
        return bytes([size])
    digits = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([0x80 | len(digits)]) + digits
