from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.sealing import open_sqlite
from tests.support.sealed_world import World


class SqliteWorld(World):
    """A world in a directory whose files can be searched."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        super().__init__(open_sqlite(directory))

    def files(self) -> bytes:
        """Return every byte of every file."""
        return b"".join(path.read_bytes() for path in sorted(self.directory.iterdir()))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SqliteWorld]:
    made = SqliteWorld(tmp_path / "content")
    yield made
    made.engine.dispose()
