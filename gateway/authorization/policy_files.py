"""Reads a policy directory: the Rego files, the data files and the bundle manifest, laid out as OPA does."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from gateway.authorization.rego import Module
from gateway.config.yaml_file import read_yaml
from gateway.errors import ConfigError

MAX_REGO_BYTES = 1_048_576
"""Largest Rego file read (bytes)."""

MAX_NESTING = 100
"""Deepest nesting of brackets in a Rego file. The engine's parser recurses: deeper could end the process."""

_DATA_FILE = "data.yaml"
_MANIFEST = ".manifest"


@dataclass(frozen=True, slots=True)
class PolicyFiles:
    """What a policy directory holds.

    Attributes:
        directory: where it was read.
        modules: Rego files that decide, sorted by name.
        tests: Rego files named `*_test.rego`, sorted by name.
        data: the data document.
        revision: revision of the bundle manifest, empty without one.
        roots: roots of the bundle manifest; `("",)` for everything.
    """

    directory: Path
    modules: tuple[Module, ...]
    tests: tuple[Module, ...]
    data: dict[str, Any]
    revision: str
    roots: tuple[str, ...]


def read_policy_files(directory: Path) -> PolicyFiles:
    """Read every file of a policy directory.

    Files and directories whose name starts with a dot are skipped, except the manifest.

    Raises:
        ConfigError: not readable, not UTF-8, not strict YAML, or a file that OPA alone would read.
    """
    if not directory.is_dir():
        raise ConfigError(f"{directory} is not a directory; policy.directory names the directory of the policies.")
    modules: list[Module] = []
    tests: list[Module] = []
    data: dict[str, Any] = {}
    for path in _files(directory):
        name = path.relative_to(directory).as_posix()
        if path.suffix == ".rego":
            (tests if name.endswith("_test.rego") else modules).append(Module(name, _rego(path)))
        elif path.name == _DATA_FILE:
            _place(data, path, path.parent.relative_to(directory).parts, read_yaml(path))
        elif path.suffix in {".json", ".yaml", ".yml"}:
            raise ConfigError(f"{path}: data is read from files named {_DATA_FILE} only; rename or move this file.")
    if not modules:
        raise ConfigError(f"{directory} holds no Rego file; without policies every call is refused.")
    revision, roots = _manifest(directory / _MANIFEST)
    return PolicyFiles(directory, tuple(modules), tuple(tests), data, revision, roots)


def _files(directory: Path) -> list[Path]:
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


def _rego(path: Path) -> str:
    try:
        content = path.read_bytes()
        text = content.decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 (byte {error.start}).") from error
    if len(content) > MAX_REGO_BYTES:
        raise ConfigError(f"{path} has {len(content)} bytes; at most {MAX_REGO_BYTES} are read.")
    depth = deepest = 0
    for character in text:
        if character in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in ")]}":
            depth -= 1
    if deepest > MAX_NESTING:
        raise ConfigError(f"{path} nests brackets {deepest} deep; at most {MAX_NESTING} are read.")
    return text


def _place(data: dict[str, Any], path: Path, place: tuple[str, ...], document: Any) -> None:
    """Put a document where its directory says: `a/b/data.yaml` is `data.a.b`."""
    document = {} if document is None else document
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: a data file is a mapping of names to values.")
    _check_values(path, document, ())
    node = data
    for part in place:
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise ConfigError(f"{path}: data.{'.'.join(place)} is given by a data file further up, too.")
    for key, value in document.items():
        if key in node:
            raise ConfigError(f"{path}: {'.'.join((*place, key))} is given by another data file, too.")
        node[key] = value


def _check_values(path: Path, value: Any, at: tuple[str, ...]) -> None:
    """Refuse what JSON has no word for, and fractions, whose text depends on who writes it."""
    if isinstance(value, dict):
        for key, item in value.items():
            _check_values(path, item, (*at, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_values(path, item, (*at, str(index)))
    elif isinstance(value, bool) or value is None or isinstance(value, str):
        return
    elif not isinstance(value, int):
        kind = "fraction" if isinstance(value, float) else type(value).__name__
        raise ConfigError(f"{path}: {'.'.join(at)} is a {kind}; data are text, whole numbers, true, false: quote it.")
    elif abs(value) > 2**53 - 1:
        raise ConfigError(f"{path}: {'.'.join(at)} is larger than 2^53 - 1 and would lose digits.")


def _manifest(path: Path) -> tuple[str, tuple[str, ...]]:
    if not path.exists():
        return "", ("",)
    try:
        document = orjson.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not a bundle manifest (JSON): {error}.") from error
    revision, roots = (
        ("", [""])
        if not isinstance(document, dict)
        else (
            document.get("revision", ""),
            document.get("roots", [""]),
        )
    )
    if not isinstance(document, dict) or not isinstance(revision, str) or not _is_texts(roots):
        raise ConfigError(f"{path}: a bundle manifest is an object with a text 'revision' and a list 'roots'.")
    if document.get("rego_version", 1) != 1:
        raise ConfigError(f"{path}: rego_version is {document['rego_version']!r}; policies here are Rego v1.")
    return revision, tuple(root.strip("/") for root in roots)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
