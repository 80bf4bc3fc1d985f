"""Selectors: the shape of each kind of fact that an attestor finds out about a workload or a node.

A selector is `type:value`; most values are `key:value` again. An entry with a selector that no attestor ever reports
would never match, so a type or key that is not known here is refused, with the nearest known one.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from identity.errors import EntryError, SpiffeIdError
from identity.spiffe_id import SpiffeId

MAX_BYTES = 2048
"""Longest selector (UTF-8 bytes)."""

_NUMBER = re.compile("0|[1-9][0-9]{0,9}")
_SHA256 = re.compile("[0-9a-f]{64}")
_SHA1 = re.compile("[0-9a-f]{40}")
_HEX = re.compile("[0-9a-f]+")

_Check = Callable[[str], bool]


def _text(value: str) -> bool:
    return value.isprintable() and value == value.strip()


def _path(value: str) -> bool:
    return value.startswith("/") and value.isprintable()


def _pair(value: str) -> bool:
    name, _, rest = value.partition(":")
    return bool(name and rest) and _text(value)


def _spiffe_id(value: str) -> bool:
    try:
        SpiffeId.parse(value)
    except SpiffeIdError:
        return False
    return True


def _claim(value: str) -> bool:
    issuer, _, rest = value.partition(":")
    return bool(issuer) and _pair(rest)


def _matches(pattern: re.Pattern[str]) -> _Check:
    return lambda value: pattern.fullmatch(value) is not None


_number, _sha256, _hexadecimal = _matches(_NUMBER), _matches(_SHA256), _matches(_HEX)

_Keys = Mapping[str, tuple[_Check, str]]
_A_NUMBER, _A_PATH, _A_DIGEST = "a number", "an absolute path", "64 digits of a-f and 0-9"
_TEXT = (_text, "text without spaces at its ends")
_PAIR = (_pair, "NAME:VALUE")

_TYPES: Mapping[str, _Keys] = MappingProxyType(
    {
        "unix": {
            "uid": (_number, _A_NUMBER),
            "user": _TEXT,
            "gid": (_number, _A_NUMBER),
            "group": _TEXT,
            "supplementary_gid": (_number, _A_NUMBER),
            "supplementary_group": _TEXT,
            "path": (_path, _A_PATH),
            "sha256": (_sha256, _A_DIGEST),
        },
        "systemd": {"id": _TEXT, "fragment_path": (_path, _A_PATH), "slice": _TEXT},
        "container": {"id": (_hexadecimal, "digits of a-f and 0-9")},
        "docker": {"label": _PAIR, "env": _TEXT, "image_id": _TEXT, "image_config_digest": _TEXT},
        "k8s": {
            "ns": _TEXT,
            "sa": _TEXT,
            "pod-name": _TEXT,
            "pod-uid": _TEXT,
            "pod-label": _PAIR,
            "pod-owner": _PAIR,
            "container-name": _TEXT,
            "container-image": _TEXT,
            "node-name": _TEXT,
        },
        "k8s_psat": {
            "cluster": _TEXT,
            "agent_ns": _TEXT,
            "agent_sa": _TEXT,
            "agent_pod_name": _TEXT,
            "agent_pod_uid": _TEXT,
            "agent_pod_label": _PAIR,
            "agent_node_name": _TEXT,
            "agent_node_uid": _TEXT,
            "agent_node_ip": _TEXT,
            "agent_node_label": _PAIR,
            "agent_audience": _TEXT,
        },
        "x509pop": {
            "subject": (lambda value: value.startswith("cn:") and len(value) > 3 and _text(value), "cn:NAME"),
            "ca": (
                lambda value: (
                    value.startswith("fingerprint:") and bool(_SHA1.fullmatch(value[12:]) or _sha256(value[12:]))
                ),
                "fingerprint:HEX",
            ),
            "fingerprint": (_hexadecimal, "digits of a-f and 0-9"),
            "serialnumber": (_hexadecimal, "digits of a-f and 0-9"),
            "san": _TEXT,
        },
        "join_token": {"id": _TEXT, "token": _TEXT},
    }
)

_WHOLE: Mapping[str, tuple[_Check, str]] = MappingProxyType(
    {"spiffe_id": (_spiffe_id, "a SPIFFE ID"), "oidc": (_claim, "ISSUER:CLAIM:VALUE")}
)
"""Types whose value has no key."""


def check_selector(selector: str) -> str:
    """Return the selector if it has a shape that some attestor reports.

    Raises:
        EntryError: not `type:value`, or of a type, key or value that no attestor reports.
    """
    if len(selector.encode()) > MAX_BYTES:
        raise EntryError(f"a selector has at most {MAX_BYTES} bytes; this one begins {selector[:60]!r}")
    kind, colon, value = selector.partition(":")
    if not (kind and colon and value):
        raise EntryError(f"{selector!r} is not a selector; write type:value, for instance unix:uid:1000")
    if kind in _WHOLE:
        check, shape = _WHOLE[kind]
        if not check(value):
            raise EntryError(f"the selector {selector!r} needs {shape} after '{kind}:'")
        return selector
    if kind not in _TYPES:
        raise EntryError(f"{selector!r}: there are no selectors of type {kind!r}; {_hint(kind, [*_TYPES, *_WHOLE])}")
    key, _, rest = value.partition(":")
    if key not in _TYPES[kind]:
        raise EntryError(f"{selector!r}: '{kind}:' has no key {key!r}; {_hint(key, list(_TYPES[kind]))}")
    check, shape = _TYPES[kind][key]
    if not rest or not check(rest):
        raise EntryError(f"the selector {selector!r} needs {shape} after '{kind}:{key}:'")
    return selector


def _hint(value: str, known: list[str]) -> str:
    near = difflib.get_close_matches(value, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
