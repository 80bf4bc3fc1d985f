"""Reads a gzipped tar archive in memory, within bounds, and refuses what two readers could read differently.

The standard library's tar reader stops silently at a damaged header and knows many dialects. Here every byte of the
archive has one meaning: POSIX ustar with pax names, GNU long names, regular files and directories (POSIX.1-2017, pax).
"""

import zlib
from collections.abc import Iterator

from gateway.authorization.bundle.archive import (
    BLOCK,
    MAX_ENTRIES,
    MAX_FILE_BYTES,
    MAX_PACKED_BYTES,
    MAX_UNPACKED_BYTES,
)
from gateway.authorization.bundle.errors import BundleError
from gateway.authorization.bundle.names import MAX_NAME_BYTES, normal_name

_ZEROS = bytes(BLOCK)
_USTAR, _GNU, _V7 = b"ustar\x0000", b"ustar  \x00", bytes(8)
_MAX_EXTENSION_BYTES = 16 * 1024
_HARMLESS = frozenset({"path", "mtime", "atime", "ctime", "uid", "gid", "uname", "gname", "comment"})
_FILE_TYPES, _DIRECTORY, _PAX, _GLOBAL, _LONG_NAME = (b"0", b"\x00"), b"5", b"x", b"g", b"L"
_EXTENSIONS = frozenset({_PAX, _GLOBAL, _LONG_NAME})
_OTHER_TYPES = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a pipe"}
_CHUNK = 64 * 1024


def unpack(content: bytes) -> dict[str, bytes]:
    """Return the files of an archive by normal name. Nothing is written to disk.

    Raises:
        BundleError: too large, damaged, or with an entry that is no plain file.
    """
    if len(content) > MAX_PACKED_BYTES:
        raise BundleError(f"it has {len(content)} bytes; at most {MAX_PACKED_BYTES} are read")
    stream = _Inflated(content)
    files: dict[str, bytes] = {}
    for count, (kind, name, size) in enumerate(_entries(stream), 1):
        if count > MAX_ENTRIES:
            raise BundleError(f"it has more than {MAX_ENTRIES} entries")
        if kind == _DIRECTORY:
            if size:
                raise BundleError(f"the directory {name!r} has a content")
            if name not in {".", "./", "/"}:
                normal_name(name.removesuffix("/"))
            continue
        if kind not in _FILE_TYPES:
            what = _OTHER_TYPES.get(kind, f"of the type {kind!r}")
            raise BundleError(f"{name!r} is {what}; a bundle holds files only")
        normal = normal_name(name)
        if normal in files:
            raise BundleError(f"{normal} is there twice")
        files[normal] = _content(stream, size, MAX_FILE_BYTES, normal)
    stream.finish()
    return files


def _entries(stream: "_Inflated") -> Iterator[tuple[bytes, str, int]]:
    """Yield type, name and size of each entry; the caller takes its content before it asks for the next."""
    name: str | None = None
    first = True
    while (header := stream.take(BLOCK)) != _ZEROS:
        _check_header(header)
        kind, size = header[156:157], _octal(header[124:136], "size")
        if kind not in _EXTENSIONS:
            yield kind, name or _header_name(header), size
            name, first = None, False
            continue
        if name is not None or (kind == _GLOBAL and not first):
            raise BundleError("an extended header stands in an unexpected place")
        extension = _content(stream, size, _MAX_EXTENSION_BYTES, "an extended header")
        name = _text(extension.removesuffix(b"\x00")) if kind == _LONG_NAME else _pax_name(extension)
        if name is not None and kind == _GLOBAL:
            raise BundleError("one extended header names all files")
    if name is not None or stream.take(BLOCK) != _ZEROS:
        raise BundleError("the archive does not end as a tar archive does")


class _Inflated:
    """The bytes of one gzip member, inflated as they are asked for, never beyond the bound."""

    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)
        self._position = 0
        self._inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self._tail: bytes | memoryview = b""
        self._buffer = bytearray()
        self._total = 0

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        while len(self._buffer) < size:
            if not self._fill():
                raise BundleError("the archive is cut off")
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def finish(self) -> None:
        """Check that nothing but padding is left, and no second stream behind it."""
        while True:
            if self._buffer.count(0) != len(self._buffer):
                raise BundleError("there is something behind the end of the tar archive")
            self._buffer.clear()
            if not self._fill():
                break
        if self._inflate.unused_data or self._position < len(self._content):
            raise BundleError("there is something behind the end of the gzip stream")

    def _fill(self) -> bool:
        """Inflate a chunk more; False at the end of the stream."""
        while not self._inflate.eof:
            if not self._tail:
                self._tail = self._content[self._position : self._position + _CHUNK]
                self._position += len(self._tail)
                if not self._tail:
                    raise BundleError("the gzip stream is cut off")
            try:
                inflated = self._inflate.decompress(self._tail, _CHUNK)
            except zlib.error as error:
                raise BundleError(f"it is no gzip stream, or a damaged one ({error})") from None
            self._tail = self._inflate.unconsumed_tail
            self._total += len(inflated)
            if self._total > MAX_UNPACKED_BYTES:
                raise BundleError(f"it unpacks to more than {MAX_UNPACKED_BYTES} bytes")
            if inflated:
                self._buffer += inflated
                return True
        return False


def _content(stream: _Inflated, size: int, limit: int, what: str) -> bytes:
    if size > limit:
        raise BundleError(f"{what} has {size} bytes; at most {limit} are read")
    content = stream.take(size)
    if stream.take(-size % BLOCK).strip(b"\x00"):
        raise BundleError(f"the padding behind {what} is not empty")
    return content


def _check_header(header: bytes) -> None:
    if sum(header) - sum(header[148:156]) + 8 * 0x20 != _octal(header[148:156], "checksum"):
        raise BundleError("a tar header is damaged: its checksum differs")
    if header[257:265] not in {_USTAR, _GNU, _V7}:
        raise BundleError("a tar header is of an unknown dialect; write the archive as ustar, pax or GNU tar")


def _octal(field: bytes, what: str) -> int:
    digits = field.strip(b" \x00")
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        raise BundleError(f"a tar header is damaged: its {what} is no octal number")
    return int(digits, 8)


def _header_name(header: bytes) -> str:
    name = _text(header[:100].partition(b"\x00")[0])
    prefix = _text(header[345:500].partition(b"\x00")[0]) if header[257:265] == _USTAR else ""
    return f"{prefix}/{name}" if prefix else name


def _pax_name(extension: bytes) -> str | None:
    """Return the path that the records of an extended header give: "<length> <key>=<value>\\n" each."""
    name = None
    while extension:
        digits, _, _ = extension.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) <= 5 else 0
        whole = length <= len(extension)
        record, extension = extension[len(digits) + 1 : length], extension[length:]
        key, separator, value = record.removesuffix(b"\n").partition(b"=")
        if not whole or not separator or not record.endswith(b"\n"):
            raise BundleError("an extended header is damaged")
        if _text(key) not in _HARMLESS:
            raise BundleError(f"an extended header gives {_text(key)!r}; a bundle needs names only")
        if key == b"path":
            name = _text(value)
    return name


def _text(name: bytes) -> str:
    if len(name) > MAX_NAME_BYTES:
        raise BundleError(f"the name {name[:40]!r}… has more than {MAX_NAME_BYTES} bytes")
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        raise BundleError(f"the name {name!r} is not UTF-8") from None
