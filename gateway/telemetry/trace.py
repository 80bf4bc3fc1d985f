"""W3C trace context: takes the caller's `traceparent` if it is well-formed, else begins a trace.

Rules: Trace Context level 1, section 3.2.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?", re.DOTALL)
# Ids have to differ, not to be secret; the generator is seeded anew in a forked process.
_random = random.getrandbits
_ZERO_TRACE, _ZERO_SPAN = b"0" * 32, b"0" * 16


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The gateway's own span within a trace.

    Attributes:
        trace_id: 32 hex digits, the caller's if it sent one.
        span_id: 16 hex digits, new for this call.
        parent_id: the caller's span, empty if it sent none.
        flags: 2 hex digits; 01 means sampled.
    """

    trace_id: str
    span_id: str
    parent_id: str
    flags: str

    def header(self) -> str:
        """Return the `traceparent` to send to the backend."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def child_of(headers: Sequence[tuple[bytes, bytes]]) -> TraceContext:
    """Return the context of a call from its header fields (names in lower case).

    A `traceparent` that is malformed, or given twice, is as if there were none.
    """
    found = [value for name, value in headers if name == b"traceparent"]
    if len(found) == 1:
        match = _TRACEPARENT.fullmatch(found[0])
        if (
            match
            and match[1] != _ZERO_TRACE
            and match[2] != _ZERO_SPAN
            and not (found[0].startswith(b"00") and len(found[0]) != 55)
        ):
            # Only the sampled bit has a meaning; the others are sent as zero.
            flags = "01" if int(match[3], 16) & 1 else "00"
            return TraceContext(match[1].decode(), f"{_random(64):016x}", match[2].decode(), flags)
    return TraceContext(f"{_random(128):032x}", f"{_random(64):016x}", "", "01")
