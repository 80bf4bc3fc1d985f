"""Event ids: UUID version 7 (RFC 9562, section 5.7), rising within a process."""

import os
import threading
import time

_lock = threading.Lock()
_last = 0


def uuid7() -> str:
    """Return a new id. Later calls return greater ids, also when the clock stands still or goes back."""
    global _last  # noqa: PLW0603 - the order holds for the whole process
    millis = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    # 48 bits of time, then 74 bits: a counter is not needed while the value as a whole rises.
    value = (millis << 74) | (random & ((1 << 74) - 1))
    with _lock:
        if value <= _last:
            value = _last + 1 + (random & 0xFFFFFFFF)
        _last = value
    time_bits, rest = value >> 74, value & ((1 << 74) - 1)
    number = (time_bits << 80) | (0x7 << 76) | ((rest >> 62) << 64) | (0b10 << 62) | (rest & ((1 << 62) - 1))
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
