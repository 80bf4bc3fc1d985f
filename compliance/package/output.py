"""Where the files of a package go: each is hashed as it is written, so that the manifest says what was meant."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from compliance.errors import ComplianceError

_NAME = r"[A-Za-z0-9_][A-Za-z0-9._()-]{0,127}"
_PATH = re.compile(f"{_NAME}(/{_NAME}){{0,7}}")


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file of a package.

    Attributes:
        path: where it is in the package, with slashes.
        sha256: of its bytes (hex).
        size: bytes.
        media_type: as in text/html.
    """

    path: str
    sha256: str
    size: int
    media_type: str


class Output:
    """The directory that a package is built in.

    Attributes:
        directory: the directory.
        files: what was written so far, by path.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files: dict[str, WrittenFile] = {}

    def write(self, path: str, media_type: str, data: bytes) -> None:
        """Write a file.

        Args:
            path: where it is in the package: names of letters, digits and `._()-`, with slashes between them.
            media_type: as in application/json.
            data: its content.

        Raises:
            ComplianceError: the path is none, or there already; or it cannot be written.
        """
        with self.stream(path, media_type) as write:
            write(data)

    @contextmanager
    def stream(self, path: str, media_type: str) -> Iterator[Callable[[bytes], None]]:
        """Write a long file piece by piece. Raises as `write`."""
        if not _PATH.fullmatch(path):
            raise ComplianceError(f"{path!r} is no path in a package")
        if path in self.files:
            raise ComplianceError(f"{path} is written twice; two parts of the package want the same name")
        target, digest, size = self.directory / path, sha256(), 0
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with target.open("wb") as file:

                def write(data: bytes) -> None:
                    nonlocal size
                    digest.update(data)
                    size += len(data)
                    file.write(data)

                yield write
        except OSError as error:
            raise ComplianceError(f"{target} cannot be written: {error.strerror}; run again to go on") from error
        self.files[path] = WrittenFile(path, digest.hexdigest(), size, media_type)
