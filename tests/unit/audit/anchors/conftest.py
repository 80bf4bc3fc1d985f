"""A log that grows, and an object store."""

from pathlib import Path

import pytest

from tests.support.anchored_log import GrowingLog, MemoryObjects


@pytest.fixture
def log(tmp_path: Path) -> GrowingLog:
    return GrowingLog(tmp_path / "tree")


@pytest.fixture
def objects() -> MemoryObjects:
    return MemoryObjects()
