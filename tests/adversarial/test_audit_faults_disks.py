"""A small disk that is really full, or read-only: refused with the cause, nothing lost, and healed by itself.

A disk that turns read-only under an open chain is among the failing file calls: Linux remounts none that is written to.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.fault_injection import ROOT

_MOUNT = 'mount -t tmpfs -o size=3m none "$1" && shift && exec "$@"'


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.mkdir()
    if not _namespaces(path):
        pytest.skip("this machine lets no user mount a disk in a namespace of their own (unshare -rm)")
    return path


def _namespaces(path: Path) -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(_inside(path, "true"), capture_output=True, timeout=20, check=False).returncode == 0


def _inside(path: Path, *command: str) -> list[str]:
    return ["unshare", "-rm", "sh", "-c", _MOUNT, "sh", str(path), *command]


def run(scenario: str, disk: Path) -> dict[str, Any]:
    command = _inside(disk, sys.executable, "-m", "tests.support.fault_injection_disk", scenario, str(disk))
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_disk_that_the_log_fills_refuses_calls_and_goes_on_once_there_is_room(disk: Path) -> None:
    said = run("full", disk)
    assert said["before"] > 20
    assert not said["healthy_while_full"]
    assert "full" in said["refusal"]
    assert (said["findings"], said["missing"]) == ([], [])
    assert said["told"] > said["before"]
    assert "log.recovered" in said["types"]


def test_a_chain_on_a_full_or_read_only_disk_is_not_opened_and_says_why(disk: Path) -> None:
    said = run("begun", disk)
    full, read_only, other = said["refusals"]
    assert "full" in full or "No space left" in full
    assert "Read-only file system" in read_only
    assert "Read-only file system" in other
    assert (said["findings"], said["missing"], said["told"]) == ([], [], 4)
