"""Takes a policy tree apart: the Rego files, the data files and the bundle manifest, laid out as OPA does."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from gateway.authorization.manifest import MANIFEST, Manifest, parse_manifest
from gateway.authorization.policy_tree import PolicyTree
from gateway.authorization.rego import Module
from gateway.config.yaml_file import parse_yaml
from gateway.errors import ConfigError
from identity.strict_json import parse_object

MAX_REGO_BYTES = 1_048_576
"""Largest Rego file read (bytes)."""

MAX_NESTING = 100
"""Deepest nesting of brackets in a Rego file. The engine's parser recurses: deeper could end the process."""

_DATA_FILES = ("data.yaml", "data.json")


@dataclass(frozen=True, slots=True)
class PolicyFiles:
    """What a policy tree holds.

    Attributes:
        source: where it was read; errors name it.
        modules: Rego files that decide, sorted by name.
        tests: Rego files named `*_test.rego`, sorted by name.
        data: the data document.
        manifest: the bundle manifest.
    """

    source: Path
    modules: tuple[Module, ...]
    tests: tuple[Module, ...]
    data: dict[str, Any]
    manifest: Manifest


def parse_policy_files(tree: PolicyTree) -> PolicyFiles:
    """Take a policy tree apart.

    Raises:
        ConfigError: not UTF-8, not strict YAML or JSON, or a file that OPA alone would read.
    """
    modules: list[Module] = []
    tests: list[Module] = []
    data: dict[str, Any] = {}
    for name, content in sorted(tree.files.items()):
        path = tree.source / name
        if path.suffix == ".rego":
            (tests if name.endswith("_test.rego") else modules).append(Module(name, _rego(path, content)))
        elif path.name in _DATA_FILES:
            document = parse_yaml(content, path) if path.suffix == ".yaml" else _json(path, content)
            _place(data, path, PurePosixPath(name).parent.parts, document)
        elif path.suffix in {".json", ".yaml", ".yml"}:
            named = " or ".join(_DATA_FILES)
            raise ConfigError(f"{path}: data is read from files named {named} only; rename or move this file.")
    if not modules:
        raise ConfigError(f"{tree.source} holds no Rego file; without policies every call is refused.")
    manifest = parse_manifest(tree.files.get(MANIFEST), tree.source / MANIFEST)
    return PolicyFiles(tree.source, tuple(modules), tuple(tests), data, manifest)


def _rego(path: Path, content: bytes) -> str:
    try:
        text = content.decode("utf-8")
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


def _json(path: Path, content: bytes) -> Any:
    try:
        return parse_object(content)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not strict JSON: {error}.") from error


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
