"""Request heads: one reading, or a refusal that names its rule."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RequestError
from gateway.listener.head import CHUNKED, check_partial, parse_head

HOST = b"Host: a.test\r\n"


def head(*fields: bytes, line: bytes = b"POST /v1/x HTTP/1.1", host: bytes = HOST) -> bytes:
    return line + b"\r\n" + host + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


def test_a_plain_head_is_read_with_names_in_lower_case_and_order_kept() -> None:
    parsed = parse_head(head(b"X-B:  two ", b"x-A: one", b"Content-Length: 3", line=b"POST /v1/x?q=1 HTTP/1.1"))
    assert parsed.method == "POST"
    assert parsed.target == b"/v1/x?q=1"
    assert [name for name, _ in parsed.fields] == [b"host", b"x-b", b"x-a", b"content-length"]
    assert (parsed.length, parsed.expects_continue, parsed.keep_alive) == (3, False, True)


@pytest.mark.parametrize(
    ("fields", "length", "expects", "keeps"),
    [
        ((), 0, False, True),
        ((b"Connection: Close",), 0, False, False),
        ((b"Connection: keep-alive, close",), 0, False, False),
        ((b"Transfer-Encoding: CHUNKED",), CHUNKED, False, True),
        ((b"Expect: 100-Continue", b"Content-Length: 12"), 12, True, True),
        ((b"Content-Length: 000",), 0, False, True),
    ],
)
def test_framing_fields_are_understood(fields: tuple[bytes, ...], length: int, expects: bool, keeps: bool) -> None:
    assert parse_head(head(*fields))[3:] == (length, expects, keeps)


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        (head(b"X: a\nY: b"), "bare-line-feed"),
        (b"GET / HTTP/1.1\nHost: a\r\n\r\n", "bare-line-feed"),
        (head(b"X: a\rb"), "bare-carriage-return"),
        (head(b"X: a\x00b"), "control-character"),
        (head(b"X: a\x01b"), "control-character"),
        (head(b"X: a\x7fb"), "control-character"),
        (head(b"X: a", b" folded"), "line-folding"),
        (head(b"X: a", b"\tfolded"), "line-folding"),
        (head(b"X : a"), "space-before-colon"),
        (head(b"Content-Length\t: 3"), "space-before-colon"),
        (head(b": a"), "header-name"),
        (head(b"X(): a"), "header-name"),
        (head(b"no colon here"), "header-line"),
        (head(b"Content-Length: 3", b"Content-Length: 3"), "content-length-repeated"),
        (head(b"Content-Length: 3", b"content-length: 4"), "content-length-repeated"),
        (head(b"Content-Length: 3, 3"), "content-length-invalid"),
        (head(b"Content-Length: +3"), "content-length-invalid"),
        (head(b"Content-Length: -3"), "content-length-invalid"),
        (head(b"Content-Length: 0x3"), "content-length-invalid"),
        (head(b"Content-Length:"), "content-length-invalid"),
        (head(b"Content-Length: 99999999999999999999999"), "content-length-invalid"),
        (head(b"Content-Length: 3", b"Transfer-Encoding: chunked"), "length-and-chunked"),
        (head(b"Transfer-Encoding: chunked", b"Content-Length: 3"), "length-and-chunked"),
        (head(b"Transfer-Encoding: gzip, chunked"), "transfer-encoding"),
        (head(b"Transfer-Encoding: chunked, gzip"), "transfer-encoding"),
        (head(b"Transfer-Encoding: xchunked"), "transfer-encoding"),
        (head(b"Transfer-Encoding: identity"), "transfer-encoding"),
        (head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), "transfer-encoding-repeated"),
        (head(host=b""), "host-missing"),
        (head(b"Host: b.test"), "host-repeated"),
        (head(host=b"Host:\r\n"), "host-invalid"),
        (head(host=b"Host: a b\r\n"), "host-invalid"),
        (head(host=b"Host: user@a\r\n"), "host-invalid"),
        (head(host=b"Host: a, b\r\n"), "host-invalid"),
        (head(b"Upgrade: websocket", b"Connection: Upgrade"), "upgrade"),
        (head(b"Upgrade: h2c"), "upgrade"),
        (head(b"Connection: upgrade"), "upgrade"),
        (head(b"HTTP2-Settings: AAMAAABkAAQAAP__"), "upgrade"),
        (head(b"Expect: 200-ok"), "expectation"),
        (head(line=b"GET / HTTP/1.0"), "http-version"),
        (head(line=b"GET / HTTP/1.2"), "http-version"),
        (head(line=b"GET / HTTP/2.0"), "http-version"),
        (b"PRI * HTTP/2.0\r\n\r\n", "http-version"),
        (b"GET /\r\n\r\n", "request-line"),
        (head(line=b"GET / RTSP/1.0"), "request-line"),
        (head(line=b"GET  /  HTTP/1.1"), "request-line"),
        (head(line=b"get / HTTP/1.1"), "request-line"),
        (b"\r\n" + head(), "request-line"),
        (head(line=b"GET\t/ HTTP/1.1"), "request-line"),
        (head(line=b"GET http://a.test/ HTTP/1.1"), "request-target"),
        (head(line=b"CONNECT a.test:443 HTTP/1.1"), "request-target"),
        (head(line=b"OPTIONS * HTTP/1.1"), "request-target"),
        (head(line=b"GET /a#b HTTP/1.1"), "request-target"),
        (head(line=b"GET /\xff HTTP/1.1"), "request-target"),
        (head(line=b"BREW / HTTP/1.1"), "method"),
    ],
)
def test_what_can_be_read_two_ways_is_refused_by_its_rule(raw: bytes, rule: str) -> None:
    with pytest.raises(RequestError) as refusal:
        parse_head(raw)
    assert refusal.value.code == rule


@pytest.mark.parametrize(
    ("data", "rule"),
    [(b"GET / HTTP/1.1\nH", "bare-line-feed"), (b"GET /\rX", "bare-carriage-return"), (b"G\0", "control-character")],
)
def test_a_head_under_way_is_refused_as_soon_as_nothing_can_mend_it(data: bytes, rule: str) -> None:
    for split in range(len(data)):
        with pytest.raises(RequestError) as refusal:
            check_in_two(data, split)
        assert refusal.value.code == rule


def check_in_two(data: bytes, split: int) -> None:
    check_partial(bytearray(data[:split]), 0)
    check_partial(bytearray(data), split)


def test_a_line_end_split_between_two_reads_is_no_bare_carriage_return() -> None:
    whole = head(b"X: a")
    for split in range(len(whole)):
        check_in_two(whole, split)


_names = st.from_regex(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}", fullmatch=True)
_values = st.from_regex(rb"[\x21-\x7e\x80-\xff]([\t\x20-\x7e\x80-\xff]{0,20}[\x21-\x7e\x80-\xff])?", fullmatch=True)
_framing_names = {b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect"}


@given(
    st.lists(
        st.tuples(_names, _values).filter(lambda f: f[0].lower() not in {*_framing_names, b"http2-settings"}),
        max_size=8,
    )
)
def test_every_well_formed_field_arrives_as_it_was_sent(fields: list[tuple[bytes, bytes]]) -> None:
    parsed = parse_head(head(*(name + b": " + value for name, value in fields)))
    assert parsed.fields[1:] == [(name.lower(), value) for name, value in fields]


@given(st.binary(max_size=60), st.integers(0, 60), st.integers(0, 5))
def test_a_damaged_head_is_read_in_one_way_or_refused(noise: bytes, at: int, cut: int) -> None:
    whole = head(b"Content-Length: 3", b"X: y")
    damaged = whole[:at] + noise + whole[at + cut :]
    end = damaged.find(b"\r\n\r\n") + 4
    if end < 4:
        return
    damaged = damaged[:end]
    try:
        parsed = parse_head(damaged)
    except RequestError:
        return
    lines = damaged[:-4].split(b"\r\n")
    expected = [line.partition(b":") for line in lines[1:]]
    assert [name for name, _ in parsed.fields] == [name.lower() for name, _, _ in expected]
    assert [value.strip() for _, value in parsed.fields] == [value.strip(b" \t").strip() for _, _, value in expected]
    assert sum(name == b"host" for name, _ in parsed.fields) == 1
    assert b"\n" not in b"".join(lines)
