"""The canonical form against the published vectors of RFC 8785, and against another implementation of it."""

import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from audit.canonical import MAX_INTEGER, canonical
from audit.errors import CanonicalError

# The inputs and outputs of cyberphone/json-canonicalization, testdata, which RFC 8785 points to. Where
# an input holds numbers with a fraction or an exponent, which no record does, they are left out (`values`) or written as
# the integers that they are (`structures`).
ARRAYS = (
    '[56, {"d": true, "10": null, "1": []}]',
    '[56,{"1":[],"10":null,"d":true}]',
)
FRENCH = (
    (
        '{"peach": "This sorting order", "p\u00e9ch\u00e9": "is wrong according to French", '
        '"p\u00eache": "but canonicalization MUST", "sin": "ingnore locale"}'
    ),
    (
        '{"peach":"This sorting order","p\u00e9ch\u00e9":"is wrong according to French",'
        '"p\u00eache":"but canonicalization MUST","sin":"ingnore locale"}'
    ),
)
STRUCTURES = (
    '{"1": {"f": {"f": "hi", "F": 5}, "\\n": 56}, "10": {}, "": "empty", "a": {}, "111": [{}], "A": {}}',
    '{"":"empty","1":{"\\n":56,"f":{"F":5,"f":"hi"}},"10":{},"111":[{}],"A":{},"a":{}}',
)
UNNORMALISED = (
    '{"Unnormalized Unicode": "\\u1e0d\\u0307"}',
    '{"Unnormalized Unicode":"\u1e0d\u0307"}',
)
SIMPLE = ('    "this is a test string 1235"', '"this is a test string 1235"')
VALUES_WITHOUT_NUMBERS = (
    r"""{"escaping": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}""",
    '{"escaping":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/","literals":[null,true,false]}',
)
WEIRD = (
    (
        '{"\\u20ac": "Euro Sign", "1": "One", "\\u0080": "Control\\u007f", '
        '"\\ud83d\\ude02": "Smiley", "\\u00f6": "Latin Small Letter O With Diaeresis", '
        '"\\ufb33": "Hebrew Letter Dalet With Dagesh", "</script>": "Browser Challenge"}'
    ),
    (
        '{"1":"One","</script>":"Browser Challenge","\u0080":"Control\u007f",'
        '"\u00f6":"Latin Small Letter O With Diaeresis","\u20ac":"Euro Sign","\U0001f602":"Smiley",'
        '"\ufb33":"Hebrew Letter Dalet With Dagesh"}'
    ),
)

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=6),
    max_leaves=30,
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [ARRAYS, FRENCH, STRUCTURES, UNNORMALISED, SIMPLE, VALUES_WITHOUT_NUMBERS, WEIRD],
    ids=["arrays", "french", "structures", "unicode", "simple-string", "values", "weird"],
)
def test_the_published_vectors(given: str, expected: str) -> None:
    assert canonical(json.loads(given)) == expected.encode()


def test_the_published_vector_that_is_given_in_bytes() -> None:
    octets = "22 74 68 69 73 20 69 73 20 61 20 74 65 73 74 20 73 74 72 69 6E 67 20 31 32 33 35 22"
    assert canonical(json.loads(SIMPLE[0])) == bytes.fromhex(octets)


@given(VALUES)
def test_another_implementation_writes_the_same(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@given(
    st.dictionaries(st.text(st.sampled_from("a\u00e9\u20ac\uffff\ue000\U00010000\U0010ffff"), max_size=4), st.none())
)
def test_keys_beyond_the_basic_plane_are_ordered_as_another_implementation_orders_them(value: dict[str, None]) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@given(st.integers())
def test_the_integers_that_are_refused_are_those_that_another_implementation_refuses(number: int) -> None:
    try:
        expected = rfc8785.dumps(number)
    except rfc8785.IntegerDomainError:
        with pytest.raises(CanonicalError):
            canonical(number)
    else:
        assert canonical(number) == expected


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\ude02\ud83d"])
def test_a_lone_surrogate_is_refused_as_another_implementation_refuses_it(text: str) -> None:
    with pytest.raises(rfc8785.CanonicalizationError):
        rfc8785.dumps(text)
    for value in (text, {text: 1}, [{"a": text}]):
        with pytest.raises(CanonicalError):
            canonical(value)
