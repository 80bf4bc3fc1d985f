"""What the operating system says of its clock: adjtimex(2), read without the right to change it."""

import ctypes
import os
from dataclasses import dataclass

_STA_UNSYNC = 0x0040
_TIME_ERROR = 5
_MODES_NONE = 0


@dataclass(frozen=True, slots=True)
class ClockState:
    """The state of the system clock.

    Attributes:
        synchronised: whether something keeps it.
        error_us: largest error that the kernel admits (microseconds).
    """

    synchronised: bool
    error_us: int


class _Timex(ctypes.Structure):
    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def clock_state() -> ClockState | None:
    """Return what the kernel says of the clock; None where it does not say."""
    state = _Timex(modes=_MODES_NONE)
    try:
        answer = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(state))
    except (OSError, AttributeError):
        return None
    if answer < 0 or os.name != "posix":
        return None
    synchronised = answer != _TIME_ERROR and not state.status & _STA_UNSYNC
    return ClockState(synchronised, max(0, int(state.maxerror)))
