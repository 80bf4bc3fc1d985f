import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.canonical import MAX_INTEGER, canonical
from audit.errors import CanonicalError

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
SCALARS = st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=5), max_leaves=20
)
SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def naive(value: Any) -> str:
    """RFC 8785, section 3.2, written down character by character as a second opinion."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        escaped = (SHORT_ESCAPES.get(c) or (f"\\u{ord(c):04x}" if ord(c) < 0x20 else c) for c in value)
        return '"' + "".join(escaped) + '"'
    if isinstance(value, list):
        return "[" + ",".join(map(naive, value)) + "]"
    keys = sorted(value, key=lambda key: tuple(key.encode("utf-16-be")))
    return "{" + ",".join(f"{naive(key)}:{naive(value[key])}" for key in keys) + "}"


@given(VALUES)
def test_agrees_with_an_independent_canonicaliser(value: Any) -> None:
    assert canonical(value) == naive(value).encode()


@given(VALUES)
def test_reading_it_back_gives_the_value_and_the_same_bytes(value: Any) -> None:
    read = json.loads(canonical(value))
    assert read == value
    assert canonical(read) == canonical(value)


def test_keys_are_ordered_by_utf16_code_units_as_in_section_3_2_3() -> None:
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    ordered = list(json.loads(canonical(dict.fromkeys(keys, 0))))
    assert ordered == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


def test_strings_are_written_as_in_section_3_2_2_2() -> None:
    assert canonical('\u20ac$\u000f\nA\'B"\\\\"/') == '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'.encode()


def test_a_tuple_is_written_as_a_list() -> None:
    assert canonical({"a": (1, "b")}) == b'{"a":[1,"b"]}'


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        float("nan"),
        MAX_INTEGER + 1,
        -MAX_INTEGER - 1,
        {1: "x"},
        {"a": {None: 1}},
        "\ud800",
        {"\udfff": 1},
        b"bytes",
        {1, 2},
        [[0.5]],
    ],
)
def test_what_has_no_canonical_form_here_is_refused(value: Any) -> None:
    with pytest.raises(CanonicalError):
        canonical(value)


@given(st.integers(min_value=MAX_INTEGER + 1) | st.integers(max_value=-MAX_INTEGER - 1))
def test_no_integer_beyond_53_bits_passes(number: int) -> None:
    with pytest.raises(CanonicalError):
        canonical([number])
