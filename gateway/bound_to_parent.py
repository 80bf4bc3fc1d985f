"""Runs a program that the kernel ends when its parent ends: `python -I bound_to_parent.py PARENT_PID PROGRAM ARGS…`.

A file of its own, with nothing imported from this package: it sets the wish in the new process, after the fork of
the parent is over (a `preexec_fn` would run in it, beside the parent's threads), and then becomes the program.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""Operation of prctl(2)."""


def main(arguments: list[str]) -> None:
    """Become the program, with standard input and output only."""
    parent, program = int(arguments[0]), arguments[1:]
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:
        sys.exit("the parent ended first")
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # whatever the parent had without close-on-exec
    os.execv(program[0], program)  # noqa: S606 - the operator's program, with arguments of the gateway


if __name__ == "__main__":
    main(sys.argv[1:])
