"""How a revision came about: what the options and a file say, and else what git knows about the directory."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.authorization.manifest import Change
from gateway.errors import ConfigError
from identity.strict_json import parse_object

_BUNDLED = (":(glob)**/*.rego", ":(glob)**/data.yaml", ":(glob)**/data.json", ":(glob).manifest")
_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class GitOrigin:
    """What git knows about a directory.

    Attributes:
        commit: hash of the commit that is checked out.
        author: who wrote it, as `Name <address>`.
        time: when it was committed (UNIX seconds).
        changed: policy files that differ from the commit, or are not part of it.
    """

    commit: str
    author: str
    time: int
    changed: tuple[str, ...]

    @property
    def revision(self) -> str:
        """The commit's hash; with `-dirty` when what is bundled is not what was committed."""
        return f"{self.commit}-dirty" if self.changed else self.commit


def git_origin(directory: Path) -> GitOrigin | None:
    """Ask git about a directory; None without git, or outside of a work tree with a commit.

    Raises:
        ConfigError: git does not answer.
    """
    git = shutil.which("git")
    if git is None:
        return None
    head = _git(git, directory, "log", "-1", "--format=%H%x00%an <%ae>%x00%ct")
    if head is None:
        return None
    commit, author, time = head.strip().split("\x00")
    status = _git(
        git, directory, "status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=all", "--ignored", "--",
        *_BUNDLED,
    )  # fmt: skip
    if status is None:
        raise ConfigError(f"git does not say whether {directory} has uncommitted changes; run 'git status' there.")
    changed = tuple(entry[3:] for entry in status.split("\x00") if entry)
    return GitOrigin(commit, author, int(time), changed)


def change_of(path: Path | None, options: Mapping[str, Any], git: GitOrigin | None) -> Change:
    """Put together how a revision came about: from options, else from a file, else from git.

    Args:
        path: a JSON object with members of `Change`.
        options: members of `Change`; None for what is not given.
        git: what git knows.

    Raises:
        ConfigError: the file cannot be read, or a value is not of the form of `Change`.
    """
    members: dict[str, Any] = {}
    if git is not None:
        members = {"serial": git.time, "commit": git.commit, "author": git.author}
    if path is not None:
        try:
            members |= parse_object(path.read_bytes())
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
        except ValueError as error:
            raise ConfigError(f"{path} is no JSON object: {error}.") from error
    members |= {name: value for name, value in options.items() if value is not None}
    try:
        return Change.model_validate(members)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{path or 'The change'}: {place}: {first['msg']}.") from None


def _git(git: str, directory: Path, *arguments: str) -> str | None:
    """Return what git prints; None if it fails."""
    command = [git, "-c", "core.fsmonitor=false", "-C", str(directory), *arguments]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command; the directory is the operator's own
            command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False, env=environment
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as error:
        raise ConfigError(f"git does not answer for {directory}: {error}.") from error
    return done.stdout if done.returncode == 0 else None
