from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.audit_log import LogWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LogWorld]:
    with LogWorld(tmp_path / "audit") as made:
        yield made
