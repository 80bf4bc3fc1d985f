"""References of secrets in Vault: `vault://MOUNT/PATH#FIELD`, with a pinned version or what a certificate asks for."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from gateway.config.vault import Engine, VaultMount

SCHEME = "vault://"

_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]*(/[A-Za-z0-9][A-Za-z0-9._@+-]*)*")
_FIELD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ASKED: Mapping[Engine, frozenset[str]] = {
    "kv-v2": frozenset({"version"}),
    "kv-v1": frozenset(),
    "dynamic": frozenset(),
    "pki": frozenset({"common_name", "alt_names", "uri_sans", "ip_sans", "ttl"}),
}


class PlaceError(ValueError):
    """A reference is none, or names a mount that is not configured."""


@dataclass(frozen=True, slots=True)
class VaultPlace:
    """One path of one mount: what is fetched at once.

    Attributes:
        engine: what the mount holds.
        asked: a pinned version (`kv-v2`), or what a certificate is to say (`pki`).
        field: which value of it is meant; empty: all of them.
    """

    engine: Engine
    mount: str
    path: str
    asked: tuple[tuple[str, str], ...] = ()
    field: str = ""

    @property
    def version(self) -> int | None:
        """The pinned version; None for the latest."""
        return next((int(value) for name, value in self.asked if name == "version"), None)


def parse_place(reference: str, mounts: Sequence[VaultMount]) -> VaultPlace:
    """Return what a reference names.

    Raises:
        PlaceError: why it names nothing.
    """
    rest, _, field = reference.removeprefix(SCHEME).partition("#")
    whole, _, query = rest.partition("?")
    mount = max(
        (each for each in mounts if whole.startswith(f"{each.path}/")), key=lambda each: len(each.path), default=None
    )
    if mount is None:
        known = ", ".join(each.path for each in mounts) or "none"
        raise PlaceError(f"{reference} is in no mount of secrets.vault.mounts ({known})")
    path = whole[len(mount.path) + 1 :]
    if not _PATH.fullmatch(path) or ".." in path:
        raise PlaceError(f"{reference}: a path has letters, digits and . _ @ + - between single slashes")
    if field and not _FIELD.fullmatch(field):
        raise PlaceError(f"{reference}: a field has letters, digits and . _ -, at most 128")
    asked = tuple(sorted(parse_qsl(query, keep_blank_values=True, strict_parsing=True))) if query else ()
    names = [name for name, _ in asked]
    if len(set(names)) != len(names) or not set(names) <= _ASKED[mount.engine]:
        allowed = ", ".join(sorted(_ASKED[mount.engine])) or "nothing"
        raise PlaceError(f"{reference}: behind the question mark of a {mount.engine} path stands {allowed}, each once")
    place = VaultPlace(mount.engine, mount.path, path, asked, field)
    if any(name == "version" and not (value.isdecimal() and 0 < int(value) < 2**31) for name, value in asked):
        raise PlaceError(f"{reference}: a version is a whole number from 1")
    return place
