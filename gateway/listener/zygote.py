"""The process that workers are forked from: imports done, no threads, no event loop, nothing secret.

Workers cannot be forked from the control process, which runs an event loop and threads, and starting each
from scratch would cost its own copy of every import. This process is forked before all that, forks workers on
demand, and so shares its memory with them.
"""

import gc
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

import orjson

_MESSAGE_BYTES = 4096

WorkerMain = Callable[[int, socket.socket], None]
"""Runs one worker until its end; takes its index and its end of the channel."""


class Zygote:
    """The control process's handle on it.

    Attributes:
        control: readable when a worker has started or ended (`read_report`).
    """

    def __init__(self, pid: int, control: socket.socket) -> None:
        self._pid = pid
        self.control = control

    @classmethod
    def fork(cls, worker_main: WorkerMain) -> "Zygote":
        """Fork it.

        Raises:
            RuntimeError: this process already has threads, which a fork would not take along.
        """
        if threading.active_count() > 1:
            raise RuntimeError("workers must be prepared before the first thread is started")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        # What was imported so far is left out of later collections, so that its pages stay shared.
        gc.collect()
        gc.freeze()
        pid = os.fork()
        if pid == 0:
            ours.close()
            _run(theirs, worker_main)
        theirs.close()
        ours.setblocking(False)
        return cls(pid, ours)

    def spawn(self, index: int, channel: socket.socket) -> None:
        """Ask for a worker; `channel` is handed over and closed here.

        Raises:
            OSError: the process is gone.
        """
        with channel:
            socket.send_fds(self.control, [orjson.dumps({"spawn": index})], [channel.fileno()])

    def kill(self, pid: int) -> None:
        """End a worker by SIGKILL; nothing happens if it has ended before."""
        self.control.send(orjson.dumps({"kill": pid}))

    def read_report(self) -> dict[str, int] | None:
        """Return the next report, or None if the process is gone.

        Reports: `{"index", "pid"}` for a start, `{"index", "pid", "exit"}` for an end; a negative exit is
        the number of a signal.

        Raises:
            BlockingIOError: there is no report now.
        """
        data = self.control.recv(_MESSAGE_BYTES)
        report: dict[str, int] | None = orjson.loads(data) if data else None
        return report

    def close(self) -> None:
        """Let it end and wait for that. Workers that still run are left to themselves."""
        self.control.close()
        os.waitpid(self._pid, 0)


def _run(control: socket.socket, worker_main: WorkerMain) -> NoReturn:
    # The control process decides about stopping; a signal to the whole group must not end this one first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    workers: dict[int, int] = {}
    status = 0
    try:
        while True:
            readable, _, _ = select.select([control.fileno(), wake_read], [], [])
            if wake_read in readable:
                os.read(wake_read, _MESSAGE_BYTES)
                _report_ends(control, workers)
            if control.fileno() in readable and not _obey(control, workers, worker_main, (wake_read, wake_write)):
                break
    except BrokenPipeError:
        pass
    except BaseException:
        traceback.print_exc()
        status = 1
    os._exit(status)


def _obey(control: socket.socket, workers: dict[int, int], worker_main: WorkerMain, wake: tuple[int, int]) -> bool:
    """Carry out one order; False once the control process is gone."""
    data, descriptors, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 1)
    if not data:
        return False
    order: dict[str, Any] = orjson.loads(data)
    if "kill" in order:
        if order["kill"] in workers:
            os.kill(order["kill"], signal.SIGKILL)
        return True
    index = order["spawn"]
    channel = socket.socket(fileno=descriptors[0])
    pid = os.fork()
    if pid == 0:
        control.close()
        signal.set_wakeup_fd(-1)
        for descriptor in wake:
            os.close(descriptor)
        _work(worker_main, index, channel)
    channel.close()
    workers[pid] = index
    control.send(orjson.dumps({"index": index, "pid": pid}))
    return True


def _report_ends(control: socket.socket, workers: dict[int, int]) -> None:
    while workers:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        index = workers.pop(pid)
        code = os.waitstatus_to_exitcode(status)
        control.send(orjson.dumps({"index": index, "pid": pid, "exit": code}))


def _work(worker_main: WorkerMain, index: int, channel: socket.socket) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # SIGINT and SIGHUP stay ignored: from a terminal they reach the whole group, and the control process acts.
    status = 1
    try:
        worker_main(index, channel)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
