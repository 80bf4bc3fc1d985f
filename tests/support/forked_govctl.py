"""Runs govctl in processes of their own that need not import it first: a waiting process that did forks each of them.

Each command has its own working directory, environment, standard streams and exit status, as if it was started anew.
The gateways themselves are started with the installed script, which shows that the script works.
"""

import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(directory: Path, *arguments: str, env: dict[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
    """Run govctl in `directory`; at most `timeout` seconds, else `subprocess.TimeoutExpired`."""
    command = ["govctl", *arguments]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors, socket.socket(socket.AF_UNIX) as line:
        line.connect(_address(env))
        line.settimeout(timeout)
        request = json.dumps([str(directory), env, command]).encode()
        socket.send_fds(line, [len(request).to_bytes(4, "big")], [out.fileno(), errors.fileno()])
        line.sendall(request)
        with line.makefile("r") as answers:
            process = int(answers.readline())
            try:
                status = int(answers.readline())
            except TimeoutError:
                os.kill(process, signal.SIGKILL)
                raise subprocess.TimeoutExpired(command, timeout) from None
        out.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(command, status, out.read().decode(), errors.read().decode())


_started: dict[str, str] = {}
_starting = threading.Lock()


def _address(env: dict[str, str]) -> str:
    """Return where the waiting process of this test process listens; start it the first time.

    What is loaded before a program stays as it is in a fork, so there is one for each that is asked for.
    """
    preloaded = env.get("LD_PRELOAD", "")
    with _starting:
        if preloaded not in _started:
            waiting = subprocess.Popen(
                [sys.executable, "-c", f"from {__name__} import wait_for_commands; wait_for_commands()"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                env={**env, "COLUMNS": "200"},
            )  # fmt: skip
            assert waiting.stdin is not None
            assert waiting.stdout is not None
            _started[preloaded] = "\0" + waiting.stdout.readline().strip()
            waiting.stdout.close()
            atexit.register(waiting.wait)
            atexit.register(waiting.stdin.close)  # runs first, and ends it
        return _started[preloaded]


def wait_for_commands() -> None:
    """Fork a process for each command asked for, until the test process has ended."""
    from gateway.cli import main

    listening = socket.socket(socket.AF_UNIX)
    listening.bind("")  # an address that the kernel chooses and that is no file
    listening.listen()
    print(listening.getsockname()[1:].decode(), flush=True)  # noqa: T201 - this is how the test process learns it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.freeze()  # else every command that collects garbage copies all memory
    while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
        line = listening.accept()[0]
        if os.fork() == 0:
            listening.close()
            _become_the_command(line)
            sys.exit(main())
        line.close()


def _become_the_command(line: socket.socket) -> None:
    """Return in a process that is as the request says; the one in between reports its id, later its exit status."""
    size, files, _, _ = socket.recv_fds(line, 4, 2)
    with line.makefile("rb") as requests:
        directory, env, command = json.loads(requests.read(int.from_bytes(size, "big")))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    process = os.fork()
    if process:
        line.sendall(f"{process}\n".encode())
        line.sendall(f"{os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])}\n".encode())
        os._exit(0)
    line.close()
    for number, file in enumerate([os.open(os.devnull, os.O_RDONLY), *files]):
        os.dup2(file, number)
        os.close(file)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = command
