"""The files of one revision of the policies, by name: read from a directory, or out of a bundle."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.authorization.manifest import MANIFEST
from gateway.errors import ConfigError

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Largest file read (bytes)."""


@dataclass(frozen=True, slots=True)
class PolicyTree:
    """Files by name, laid out as in an OPA bundle.

    Attributes:
        source: where they were read; errors name files below it.
        files: content by path relative to the root, with forward slashes.
    """

    source: Path
    files: Mapping[str, bytes] = field(repr=False)


def read_policy_tree(directory: Path) -> PolicyTree:
    """Read every file of a policy directory.

    Files and directories whose name starts with a dot are skipped, except the manifest.

    Raises:
        ConfigError: a file cannot be read, or the directory is none.
    """
    if not directory.is_dir():
        raise ConfigError(f"{directory} is not a directory; policy.directory names the directory of the policies.")
    files = {path.relative_to(directory).as_posix(): _content(path) for path in _paths(directory)}
    if (directory / MANIFEST).exists():
        files[MANIFEST] = _content(directory / MANIFEST)
    return PolicyTree(directory, files)


def _paths(directory: Path) -> list[Path]:
    found: list[Path] = []

    def unreadable(error: OSError) -> None:
        raise ConfigError(f"{error.filename} cannot be read: {error.strerror}.") from error

    for root, folders, names in os.walk(directory, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            if (Path(root) / name).is_symlink():
                raise ConfigError(f"{Path(root) / name} is a link to a directory; put the files themselves here.")
        found += [Path(root) / name for name in names if not name.startswith(".")]
    return sorted(found, key=lambda path: path.relative_to(directory).as_posix())


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_FILE_BYTES} bytes.")
    return content
