"""Changes to what is signed of a certificate, known ones under a name and any that Hypothesis draws."""

from collections.abc import Callable, Mapping

from hypothesis import strategies as st

from tests.support.der import Node

_SUBJECT_KEY_ID, _BASIC_CONSTRAINTS, _POLICY_MAPPINGS, _AUTHORITY_KEY_ID = 0x0E, 0x13, 0x21, 0x23
"""Last arcs of the extensions' object identifiers; the others are 2.5.29."""


def _extension(tbs: Node, last_arc: int) -> Node:
    name = Node(0x06, bytes([0x55, 0x1D, last_arc])).write()
    return next(node for node in tbs if node.children and node.children[0].write() == name)


def _subject(tbs: Node) -> Node:
    return tbs.children[5]


def _drop(tbs: Node, last_arc: int) -> None:
    gone = _extension(tbs, last_arc)
    for node in tbs:
        node.children = [child for child in node.children if child is not gone]


def _empty_rdn(tbs: Node) -> None:
    _subject(tbs).children.append(Node(0x31, b""))


def _attribute_twice(tbs: Node) -> None:
    _subject(tbs).children[0].children *= 2


def _value_too_many(tbs: Node) -> None:
    _extension(tbs, _SUBJECT_KEY_ID).children.append(Node(0x05, b""))


def _another_text(tbs: Node) -> None:
    _subject(tbs).children[0].children[0].children[1].tag = 0x04


def _policy_mapping(tbs: Node) -> None:
    arcs = Node(0x06, b"\x2a\x03").write()
    pair = Node(0x30, arcs + arcs).write()
    _extension(tbs, _SUBJECT_KEY_ID).children[:] = [
        Node(0x06, bytes([0x55, 0x1D, _POLICY_MAPPINGS])),
        Node(0x04, Node(0x30, pair).write()),
    ]


CHANGED: Mapping[str, Callable[[Node], None]] = {
    "an empty RDN": _empty_rdn,
    "an attribute twice in an RDN": _attribute_twice,
    "a value too many in the extension": _value_too_many,
    "a subject in another type of text": _another_text,
    "no authority key identifier": lambda tbs: _drop(tbs, _AUTHORITY_KEY_ID),
    "no basic constraints": lambda tbs: _drop(tbs, _BASIC_CONSTRAINTS),
    "a policy mapping": _policy_mapping,
}


def mutate(data: st.DataObject, node: Node) -> None:
    """Change one value: its type, a byte, its length, or what is in it and in which order."""
    if node.children and data.draw(st.integers(0, 4)):
        children, at = node.children, data.draw(st.integers(0, len(node.children) - 1))
        how = data.draw(st.sampled_from(["drop", "again", "swap"]))
        if how == "drop":
            del children[at]
        elif how == "again":
            children.insert(at, data.draw(st.sampled_from(children)))
        else:
            children[at], children[0] = children[0], children[at]
    elif node.content and data.draw(st.integers(0, 4)):
        changed_content = bytearray(node.content)
        changed_content[data.draw(st.integers(0, len(changed_content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        node.content = bytes(changed_content) + data.draw(st.sampled_from([b"", b"", b"\0"]))
    else:
        node.tag = data.draw(st.sampled_from([node.tag ^ (1 << data.draw(st.integers(0, 7))), 0x05, 0x0C, 0x13, 0x16]))
