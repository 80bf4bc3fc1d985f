"""Reads from a process's control groups which systemd unit and which container it belongs to.

Only names that the machine's own managers give count. Whoever is given a subtree of the hierarchy (a user's own
systemd, a service with `Delegate=`, the root user of a container) names the groups in it at will, so of several units
or containers on a path the outermost is the one reported, and no container is looked for below a service or a user's
slice.
"""

import re
from dataclasses import dataclass

_CONTAINER = re.compile(r"(?:[a-z0-9-]+[-:])?([0-9a-f]{64})(?:\.scope)?")
_MONITOR = "conmon"
"""Podman and CRI-O put a container's monitor in a scope that carries the container's id as well."""

_UNITS = (".service", ".scope")
_USERS = "user.slice"


@dataclass(frozen=True, slots=True)
class Membership:
    """Where a process belongs; a field is empty if the kernel does not tell.

    Attributes:
        unit: systemd unit, for instance `nginx.service`.
        slice: systemd slice that the unit is in.
        container: container id, 64 hexadecimal digits.
    """

    unit: str = ""
    slice: str = ""
    container: str = ""


def membership(text: str) -> Membership:
    """Read `/proc/<pid>/cgroup`, of version 1 or 2 (cgroups(7))."""
    paths = _paths(text)
    unit, slice_ = next(filter(any, map(_unit, paths)), ("", ""))
    containers = {found for path in paths if (found := _container(path))}
    return Membership(unit, slice_, containers.pop() if len(containers) == 1 else "")


def _paths(text: str) -> list[list[str]]:
    """Return the paths, split, with those that systemd manages first."""
    ranked = []
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        parts = path.split("/")[1:]
        if colon and path.startswith("/") and ".." not in parts:
            ranked.append(
                (("", "name=systemd").index(controllers) if controllers in {"", "name=systemd"} else 2, parts)
            )
    return [parts for _, parts in sorted(ranked, key=lambda each: each[0])]


def _unit(parts: list[str]) -> tuple[str, str]:
    slice_ = ""
    for part in parts:
        if part.endswith(_UNITS):
            return part, slice_
        if part.endswith(".slice"):
            slice_ = part
    return "", ""


def _container(parts: list[str]) -> str:
    for part in parts:
        if part == _USERS or part.endswith(".service"):
            return ""
        found = _CONTAINER.fullmatch(part)
        if found and _MONITOR not in part:
            return found[1]
    return ""
