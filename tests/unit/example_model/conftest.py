"""The example model server in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SERVER = Path(__file__).parents[3] / "deploy" / "example_model" / "server.py"


@contextmanager
def example_server(delay_ms: int) -> Iterator[str]:
    """Run the server on a free port; yield its address."""
    process = subprocess.Popen(
        [sys.executable, str(SERVER), "--port", "0", "--delay-ms", str(delay_ms)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert "http://127.0.0.1:" in line
        yield line.split()[-1]
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


@pytest.fixture(scope="package")
def url() -> Iterator[str]:
    """Address of a server without delay."""
    with example_server(0) as address:
        yield address


@pytest.fixture
def slow_url() -> Iterator[str]:
    """Address of a server of this test's own, 20 ms a word."""
    with example_server(20) as address:
        yield address
