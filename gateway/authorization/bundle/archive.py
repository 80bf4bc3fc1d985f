"""A gzipped tar archive in memory, the same bytes for the same files.

The gzip header is written here: libraries put a time and the platform into it.
"""

import tarfile
import zlib
from collections.abc import Mapping

from gateway.authorization.bundle.errors import BundleError

MAX_PACKED_BYTES = 64 * 1024 * 1024
"""Largest bundle, compressed (bytes)."""

MAX_UNPACKED_BYTES = 256 * 1024 * 1024
"""Largest archive, unpacked (bytes)."""

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Largest file in it (bytes)."""

MAX_ENTRIES = 10_000
"""Most files and directories in it."""

BLOCK = 512
"""Size of a tar block (bytes)."""

_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"  # RFC 1952, section 2.3: no name, no time, no platform


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return the archive of files, by normal name.

    Raises:
        BundleError: it would be larger than what is read.
    """
    if len(files) > MAX_ENTRIES:
        raise BundleError(f"{len(files)} files are more than a bundle holds ({MAX_ENTRIES})")
    parts: list[bytes] = []
    for name, content in sorted(files.items()):
        if len(content) > MAX_FILE_BYTES:
            raise BundleError(f"{name} has {len(content)} bytes; a file of a bundle has at most {MAX_FILE_BYTES}")
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(content), 0o644
        parts += [entry.tobuf(tarfile.PAX_FORMAT), content, bytes(-len(content) % BLOCK)]
    parts.append(bytes(2 * BLOCK))
    unpacked = sum(map(len, parts))
    if unpacked > MAX_UNPACKED_BYTES:
        raise BundleError(f"the files have {unpacked} bytes; a bundle has at most {MAX_UNPACKED_BYTES}")
    packed = _gzip(parts)
    if len(packed) > MAX_PACKED_BYTES:
        raise BundleError(f"the bundle has {len(packed)} bytes; at most {MAX_PACKED_BYTES} are read")
    return packed


def _gzip(parts: list[bytes]) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    written = [_GZIP_HEADER]
    checksum = size = 0
    for part in parts:
        written.append(deflate.compress(part))
        checksum = zlib.crc32(part, checksum)
        size += len(part)
    written += [deflate.flush(), checksum.to_bytes(4, "little"), size.to_bytes(4, "little")]
    return b"".join(written)
