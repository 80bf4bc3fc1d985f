"""Digests of a bundle's files, as OPA computes them: documents by their values, everything else by its bytes.

Rules: www.openpolicyagent.org, bundle signature format. A document is `data.json`, `data.yaml`, `data.yml` or the
manifest; its members are sorted, numbers stay as they are written, and text is escaped as Go's encoder does.
"""

import hashlib
import json
from json.encoder import encode_basestring
from pathlib import Path, PurePosixPath
from typing import Any

from gateway.authorization.bundle.errors import BundleError
from gateway.authorization.manifest import MANIFEST
from gateway.config.yaml_file import parse_yaml
from gateway.errors import ConfigError

ALGORITHMS = {"SHA-256": hashlib.sha256, "SHA-384": hashlib.sha384, "SHA-512": hashlib.sha512}
"""What a signature may name; OPA's others are too weak or too rare."""

_YAML = frozenset({"data.yaml", "data.yml"})
_DOCUMENTS = _YAML | {"data.json", MANIFEST}


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


def digest(name: str, content: bytes, algorithm: str) -> str:
    """Return the digest (hex) of a file under one of `ALGORITHMS`.

    Raises:
        BundleError: a document that is not JSON or YAML.
    """
    base = PurePosixPath(name).name
    if base in _DOCUMENTS:
        try:
            content = _text(document(name, content)).encode()
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{name} has no digest: {error}") from None
    return ALGORITHMS[algorithm](content).hexdigest()


def document(name: str, content: bytes) -> Any:
    """Return the values of a document; its numbers are text as written if it is JSON.

    Raises:
        BundleError: neither JSON nor, for a YAML file, YAML; or a member is there twice.
    """
    try:
        return json.loads(
            content.decode(), object_pairs_hook=_once, parse_int=_Number, parse_float=_Number, parse_constant=_refuse
        )
    except (ValueError, RecursionError) as error:
        if PurePosixPath(name).name not in _YAML:
            raise BundleError(f"{name} is not strict JSON: {error}") from None
    try:
        return parse_yaml(content, Path(name))
    except ConfigError as error:
        raise BundleError(str(error)) from None


def _text(value: Any) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, str):
        # Go escapes these two, which are line ends in JavaScript; everything else is as in Python.
        return encode_basestring(value).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    if isinstance(value, dict):
        return "{" + ",".join(f"{_text(key)}:{_text(item)}" for key, item in sorted(value.items())) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    if value is None or isinstance(value, bool | int):
        return json.dumps(value)
    raise ValueError(f"{value!r} is written differently by different programs; use text or a whole number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is there twice")
    return members


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
