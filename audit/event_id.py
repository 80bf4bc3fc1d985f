"""Event ids: UUID version 7 (RFC 9562, section 5.7), rising within a process."""

import os
import threading
import time

_BLOCK = 4096

_lock = threading.Lock()
_last = 0
_pool = b""
_used = _BLOCK
_owner = 0


def uuid7() -> str:
    """Return a new id. Later calls return greater ids, also when the clock stands still or goes back."""
    global _last, _pool, _used, _owner  # noqa: PLW0603 - the order holds for the whole process
    millis = time.time_ns() // 1_000_000
    with _lock:
        # Randomness is taken from the system in blocks; a block is never shared with a forked process.
        if _used >= _BLOCK or _owner != os.getpid():
            _pool = os.urandom(_BLOCK)
            _used = 0
            _owner = os.getpid()
        random = int.from_bytes(_pool[_used : _used + 8]) & _RANDOM
        _used += 8
        # 48 bits of time and 62 bits of randomness; the 12 bits between them count up within a millisecond.
        value = (millis << 74) | random
        if value <= _last:
            value = ((_last >> 62) + 1 << 62) | random
        _last = value
    text = f"{value >> 74:012x}7{value >> 62 & 0xFFF:03x}{_VARIANT | value & _RANDOM:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


_RANDOM = (1 << 62) - 1
_VARIANT = 0b10 << 62
