"""Strict JSON: what two parsers could read differently is refused, with the rule's name and the place."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MediaTypeError, RequestError
from gateway.protocols import json_body
from gateway.protocols.json_body import (
    MAX_CONTAINERS,
    MAX_DEPTH,
    MAX_KEYS,
    parse_json_object,
    require_json,
)

TYPE = b"content-type"
finite = st.floats(min_value=-(2.0**53), max_value=2.0**53)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | finite | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
documents = st.dictionaries(st.text(), values, max_size=5)


def refusal(body: bytes) -> RequestError:
    with pytest.raises(RequestError) as caught:
        parse_json_object(body)
    return caught.value


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "body_empty"),
        (b"{", "json_syntax"),
        (b'{"a":1,}', "json_syntax"),
        (b'{"a":1} {"a":1}', "json_syntax"),
        (b"{'a':1}", "json_syntax"),
        (b'{"a":01}', "json_syntax"),
        (b'{"a":"\x01"}', "json_syntax"),
        (b'{"a":1/*x*/}', "json_syntax"),
        (b"\x00{}", "json_syntax"),
        (b"\xef\xbb\xbf{}", "json_byte_order_mark"),
        ('{"a":"x"}'.encode("utf-16"), "json_not_utf8"),
        (b'{"a":"\xff"}', "json_not_utf8"),
        (b'{"a":"\xc0\xaf"}', "json_not_utf8"),
        (b'{"a":"\xed\xa0\x80"}', "json_not_utf8"),
        (b'{"a":"\\ud800"}', "json_lone_surrogate"),
        (b'{"a":"\\udc00"}', "json_lone_surrogate"),
        (b'{"\\ud800":1}', "json_lone_surrogate"),
        (b'{"a":NaN}', "json_not_a_number"),
        (b'{"a":Infinity}', "json_not_a_number"),
        (b'{"a":-Infinity}', "json_not_a_number"),
        (b'{"a":1e400}', "json_number_out_of_range"),
        (b'{"a":18446744073709551616}', "json_number_out_of_range"),
        (b'{"a":[0,{"b":-9223372036854775809}]}', "json_number_out_of_range"),
        (b"[]", "json_not_an_object"),
        (b'"{}"', "json_not_an_object"),
        (b"null", "json_not_an_object"),
        (b'{"a":1,"a":2}', "json_duplicate_key"),
        (b'{"a":1,"a":1}', "json_duplicate_key"),
        (b'{"model":"x","mod\\u0065l":"y"}', "json_duplicate_key"),
        (b'{"a":[[{"b":{"c":1,"c":2}}]]}', "json_duplicate_key"),
        (b'{"a":{"b":1,"b":2},"a":3}', "json_duplicate_key"),
        (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "json_too_deep"),
        (b'{"a":' + b"[" * 100_000, "json_too_many_containers"),
        (b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}", "json_too_deep"),
        (b'{"a":[' + b"[]," * (MAX_CONTAINERS) + b"[]]}", "json_too_many_containers"),
        (b"{" + b",".join(b'"%d":1' % n for n in range(MAX_KEYS + 1)) + b"}", "json_too_many_keys"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[:24].decode("latin-1"),
)
def test_an_ambiguous_body_is_refused_under_the_name_of_its_rule(body, code):
    assert refusal(body).code == code
    assert refusal(body).remedy


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"a":1,\n  x}', "line 2, column 3"),
        (b'{"a":{"b":[0,{"c":1,"c":2}]}}', "a.b[1]"),
        (b'{"model":"x","model":"y"}', "the top level"),
        (b'{"a":[1,1e30]}', "a[1]"),
        (b'{"a":"\xff"}', "byte 6"),
    ],
)
def test_the_refusal_says_where(body, place):
    assert place in refusal(body).detail


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":18446744073709551615,"b":-9223372036854775808,"c":0.5}',
        b'{"a":"\\ud83d\\ude00"}',
        b'{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}',
        b'{"a":"[[[[{{{{"}',
        b' {"a" : [ ] }\r\n',
        b'{"a":' * (MAX_DEPTH - 1) + b"{}" + b"}" * (MAX_DEPTH - 1),
        b'{"a":"' + b'[{\\"' * MAX_CONTAINERS + b'"}',
        b'{"a":[' + b"1," * 100_000 + b"1]}",
        b"{}",
    ],
    ids=lambda body: body[:24].decode(),
)
def test_a_plain_body_is_taken(body):
    assert parse_json_object(body) == json.loads(body)


@given(documents, st.booleans(), st.booleans())
def test_what_is_taken_means_the_same_to_another_parser(document, spaced, ascii_only):
    body = json.dumps(document, ensure_ascii=ascii_only, separators=None if spaced else (",", ":")).encode()
    assert parse_json_object(body) == json.loads(body) == document


@given(documents.filter(bool), st.data(), st.booleans())
def test_any_repeated_key_is_found(document, data, spaced):
    key = data.draw(st.sampled_from(sorted(document)))
    separators = (", ", ": ") if spaced else (",", ":")
    text = json.dumps(document, separators=separators)
    doubled = f"{text[:-1]}{separators[0]}{json.dumps(key)}{separators[1]}null}}"
    nested = f'{{"x":[{doubled}]}}'
    assert refusal(doubled.encode()).code == "json_duplicate_key"
    assert refusal(nested.encode()).code == "json_duplicate_key"


@given(st.binary(max_size=60))
def test_any_bytes_are_taken_or_refused_and_nothing_else_happens(body):
    try:
        document = parse_json_object(body)
    except RequestError:
        return
    assert document == json.loads(body)


@pytest.mark.parametrize(
    "value",
    [
        b"application/json",
        b"Application/JSON",
        b"application/json; charset=utf-8",
        b"application/json;charset=UTF-8",
        b'application/json; charset="utf-8"',
    ],
)
def test_json_in_utf8_is_the_content_type(value):
    require_json([(b"host", b"x"), (TYPE, value)])


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([], "content_type_missing"),
        ([(TYPE, b"")], "content_type_unsupported"),
        ([(TYPE, b"text/plain")], "content_type_unsupported"),
        ([(TYPE, b"application/json; charset=latin-1")], "content_type_unsupported"),
        ([(TYPE, b"application/jsonx")], "content_type_unsupported"),
        ([(TYPE, b"application/json, text/plain")], "content_type_unsupported"),
        ([(TYPE, b"application/json"), (TYPE, b"application/json")], "content_type_unsupported"),
        ([(TYPE, b"application/json"), (b"content-encoding", b"gzip")], "content_encoding_unsupported"),
        ([(TYPE, b"application/json"), (b"content-encoding", b"identity")], "content_encoding_unsupported"),
    ],
)
def test_another_content_type_or_encoding_is_refused(headers, code):
    with pytest.raises(MediaTypeError) as caught:
        require_json(headers)
    assert caught.value.code == code


def nested(inner: bytes) -> bytes:
    return b'{"a":' + b'{"k":' * 58 + inner + b"}" * 58 + b',"z":%b}'


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"a":[' + b"1," * 1_000_000 + b"1]}", "json_too_many_values"),
        (nested(b"[" + b"1," * 200_000 + b"1]") % b"1e300", "json_number_out_of_range"),
        (nested(b"[" + b"1," * 200_000 + b"1]") % b'{"y":1,"y":2}', "json_duplicate_key"),
        (b'{"a":[' + b"{}," * 40_000 + b"1e300]}", "json_number_out_of_range"),
        (b'{"a":' + b"[" * 1010 + b"]" * 1010 + b',"a":1}', "json_too_deep"),
    ],
    ids=["values", "number after a long list", "duplicate after a long list", "many containers", "deep duplicate"],
)
def test_a_refusal_looks_at_a_bounded_part_of_the_document(body, code, monkeypatch):
    visited = []
    walk = json_body._walk
    monkeypatch.setattr(json_body, "_walk", lambda *given: (visited.append(1) or each for each in walk(*given)))
    with pytest.raises(RequestError) as caught:
        parse_json_object(body)
    assert caught.value.code == code
    assert len(visited) <= json_body.MAX_SEARCHED + 1


def test_commas_in_text_are_not_values():
    text = "a, " * 1_100_000
    assert parse_json_object(json.dumps({"prompt": text}).encode()) == {"prompt": text}
