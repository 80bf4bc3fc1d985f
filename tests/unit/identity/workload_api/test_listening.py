"""The socket's file: whose it is, and what happens to one that is there already."""

import fcntl
import os
import socket
import threading
from pathlib import Path

import pytest

from identity.workload_api.listening import WorkloadApiError, listen


@pytest.mark.parametrize("mode", [0o777, 0o660, 0o700])
def test_the_socket_has_the_permissions_asked_for(tmp_path: Path, mode):
    with listen(tmp_path / "made" / "api.sock", mode):
        assert (tmp_path / "made" / "api.sock").stat().st_mode & 0o777 == mode
        assert not (tmp_path / "made").stat().st_mode & 0o022


@pytest.mark.parametrize("permissions", [0o777, 0o775])
def test_a_directory_that_others_may_write_is_refused(tmp_path, permissions):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(permissions)
    with pytest.raises(WorkloadApiError, match="chmod go-w"):
        listen(shared / "api.sock", 0o777)
    shared.chmod(0o1777)
    listen(shared / "api.sock", 0o777).close()


def test_a_path_that_is_too_long_is_refused_with_the_limit(tmp_path):
    with pytest.raises(WorkloadApiError, match="shorter than 108 bytes"):
        listen(tmp_path / ("x" * 120), 0o777)


def test_a_server_that_is_busy_counts_as_alive(tmp_path):
    path = tmp_path / "api.sock"
    with listen(path, 0o777) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.listen(0)
        waiting.connect(str(path))
        with pytest.raises(WorkloadApiError, match="another process serves"):
            listen(path, 0o777)


def test_a_socket_left_behind_is_replaced_by_one_gateway_at_a_time(tmp_path):
    path, made = tmp_path / "api.sock", []
    directory = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    before = path.stat().st_ino
    second = threading.Thread(target=lambda: made.append(listen(path, 0o777)))
    second.start()
    second.join(0.3)
    assert (second.is_alive(), path.stat().st_ino) == (True, before)
    os.close(directory)
    second.join(10)
    with made.pop(), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
