"""The head of an HTTP/1.1 request, read strictly (RFC 9112): what can be read two ways is refused.

llhttp reads the fields and already refuses broken lines, folding, control characters, blanks before a colon,
repeated or non-numeric lengths, and a length together with chunked. Added here is what it lets pass: other
versions and other forms of target, a missing or repeated Host, codings before `chunked`, upgrades. When
something is refused, `diagnose` reads the head again, slowly, to name the rule.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple, NoReturn

import httptools

from gateway.errors import HttpVersionError, RequestError

Fields = list[tuple[bytes, bytes]]

CHUNKED = -1
"""Length of a body that comes in chunks."""

_REQUEST_LINE = re.compile(rb"([A-Z]+) (/[\x21\x22\x24-\x7e]*) HTTP/1\.1\r\n")
_VERSION = re.compile(rb"[^\r\n]* (HTTP/\d\.\d)\r\n")
_ILLEGAL = re.compile(rb"\r(?!\n|\Z)|(?<!\r)\n|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_LENGTH = re.compile(rb"[0-9]{1,15}")

_WATCHED = frozenset(
    (
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"upgrade",
        b"http2-settings",
        b"expect",
    )
)


class Head(NamedTuple):
    """One request head that passed every rule.

    Attributes:
        method: for instance `POST`.
        target: path and query as sent.
        fields: header fields in wire order, names in lower case.
        length: of the body (bytes), or `CHUNKED`.
        expects_continue: the client waits for `100 Continue` before it sends the body.
        keep_alive: the client wants to use the connection again.
    """

    method: str
    target: bytes
    fields: Fields
    length: int
    expects_continue: bool
    keep_alive: bool


class _Collector:
    """Takes the fields from the parser, and sets aside those that the rules are about."""

    __slots__ = ("fields", "watched")

    def __init__(self) -> None:
        self.fields: Fields = []
        self.watched: Fields = []

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self.fields.append((name, value))
        if name in _WATCHED:
            self.watched.append((name, value.strip(b" \t")))


def parse_head(head: bytes) -> Head:
    """Read a complete head, from the request line to the empty line.

    Raises:
        RequestError: a rule is broken; `code` names it.
    """
    line = _REQUEST_LINE.match(head)
    if line is None:
        raise diagnose(head)
    collector = _Collector()
    try:
        httptools.HttpRequestParser(collector).feed_data(head)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
        raise diagnose(head) from error
    length, expects_continue, keep_alive = _framing(collector.watched)
    return Head(line[1].decode("ascii"), line[2], collector.fields, length, expects_continue, keep_alive)


def check_partial(data: bytearray, start: int) -> None:
    """Refuse at once what no further byte can mend.

    Args:
        data: the head as far as it has come.
        start: how much of it was checked before.

    Raises:
        RequestError: a bare line feed, a bare carriage return or a control character.
    """
    found = _ILLEGAL.search(data, max(start - 1, 0))
    if found is not None:
        raise _illegal(found[0])


def _illegal(found: bytes) -> RequestError:
    if found == b"\n":
        return RequestError(
            "A line of the request head ends in a bare line feed.",
            remedy="End every line with CR LF.",
            code="bare-line-feed",
        )
    if found == b"\r":
        return RequestError(
            "There is a carriage return in the request head that is not followed by a line feed.",
            remedy="End every line with CR LF, and send no CR elsewhere.",
            code="bare-carriage-return",
        )
    return RequestError(
        f"There is a control character (0x{found[0]:02x}) in the request head.",
        remedy="Encode or remove it.",
        code="control-character",
    )


def diagnose(head: bytes) -> RequestError:
    """Return the error that names the first rule `head` breaks."""
    found = _ILLEGAL.search(head)
    if found is not None:
        return _illegal(found[0])
    if _REQUEST_LINE.match(head) is None:
        return _request_line_error(head)
    try:
        _framing(_split(head))
    except RequestError as error:
        return error
    method = head.split(b" ", 1)[0].decode("ascii")
    if _parses(b"GET" + head[len(method) :]):
        return RequestError(f"{method} is not a method that HTTP knows.", code="method")
    return RequestError("The request head is malformed.", code="malformed-head")


def _parses(head: bytes) -> bool:
    try:
        httptools.HttpRequestParser(object()).feed_data(head)
    except httptools.HttpParserError:
        return False
    return True


def _request_line_error(head: bytes) -> RequestError:
    line = head.split(b"\r\n", 1)[0]
    version = _VERSION.match(head)
    if version is None:
        return RequestError(
            "The first line is not a request line.",
            remedy="Send: METHOD /path HTTP/1.1",
            code="request-line",
        )
    if version[1] != b"HTTP/1.1":
        return HttpVersionError(
            f"The request is {version[1].decode('ascii')}.", remedy="Use HTTP/1.1.", code="http-version"
        )
    words = line.split(b" ")
    if len(words) != 3 or not re.fullmatch(rb"[A-Z]+", words[0]):
        return RequestError(
            "The first line is not a request line.",
            remedy="Send: METHOD /path HTTP/1.1",
            code="request-line",
        )
    return RequestError(
        "The request target is not a path of printable ASCII characters.",
        remedy="Send the path and query only, percent-encoded; this is not a forward proxy.",
        code="request-target",
    )


def _split(head: bytes) -> Iterable[tuple[bytes, bytes]]:
    """Yield the watched fields of `head`; raises RequestError at a line that is no field."""
    for line in head.split(b"\r\n")[1:-2]:
        if line[:1] in (b" ", b"\t"):
            raise RequestError(
                "A header field goes on in a second line, which is obsolete (RFC 9112, section 5.2).",
                remedy="Send every field in one line.",
                code="line-folding",
            )
        name, colon, value = line.partition(b":")
        if not colon:
            raise RequestError("A line of the request head has no colon.", code="header-line")
        if name != name.rstrip(b" \t"):
            raise RequestError(
                "There is white space between a field's name and its colon (RFC 9112, section 5.1).",
                remedy="Remove it.",
                code="space-before-colon",
            )
        if _TOKEN.fullmatch(name) is None:
            raise RequestError("The name of a header field is empty or not a token.", code="header-name")
        name = name.lower()
        if name in _WATCHED:
            yield name, value.strip(b" \t")


def _framing(fields: Iterable[tuple[bytes, bytes]]) -> tuple[int, bool, bool]:
    """Return the body's length, whether 100 Continue is expected, and whether to keep the connection."""
    keep_alive = True
    single: dict[bytes, bytes] = {}
    for name, value in fields:
        if name == b"connection":
            keep_alive = _keeps_alive(value) and keep_alive
        elif name in single:
            field = name.decode("ascii")
            _refuse(f"{field}-repeated", f"There is more than one {field} field.", "Send one.")
        else:
            single[name] = value
    host = single.get(b"host")
    if host is None:
        _refuse("host-missing", "There is no Host field (RFC 9112, section 3.2).", "Send one.")
    if _HOST.fullmatch(host) is None:
        _refuse("host-invalid", "The Host field is not a name or address with an optional port.")
    if b"upgrade" in single or b"http2-settings" in single:
        _refuse_upgrade()
    expect = single.get(b"expect")
    if expect is not None and expect.lower() != b"100-continue":
        _refuse("expectation", "The only expectation known is 100-continue.")
    return _body_length(single), expect is not None, keep_alive


def _keeps_alive(connection: bytes) -> bool:
    options = {option.strip() for option in connection.lower().split(b",")}
    if b"upgrade" in options:
        _refuse_upgrade()
    return b"close" not in options


def _body_length(fields: Mapping[bytes, bytes]) -> int:
    length, coding = fields.get(b"content-length"), fields.get(b"transfer-encoding")
    if coding is not None:
        if length is not None:
            _refuse(
                "length-and-chunked",
                "There is both a Content-Length and a Transfer-Encoding (RFC 9112, section 6.1).",
                "Send one of them.",
            )
        if coding.lower() != b"chunked":
            _refuse(
                "transfer-encoding",
                "The transfer coding is not exactly 'chunked'.",
                "Send a Content-Length, or 'Transfer-Encoding: chunked'.",
            )
        return CHUNKED
    if length is None:
        return 0
    if _LENGTH.fullmatch(length) is None:
        _refuse("content-length-invalid", "Content-Length is not a number of bytes.")
    return int(length)


def _refuse_upgrade() -> NoReturn:
    _refuse("upgrade", "This listener upgrades to no other protocol.", "Use HTTP/1.1.")


def _refuse(rule: str, detail: str, remedy: str = "") -> NoReturn:
    raise RequestError(detail, remedy=remedy, code=rule)
