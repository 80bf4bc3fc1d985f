"""Reads the policies of a commit out of git, without checking it out."""

import os
import shutil
import subprocess
from pathlib import Path, PurePosixPath

from gateway.authorization.manifest import MANIFEST
from gateway.authorization.policy_tree import MAX_FILE_BYTES, PolicyTree
from gateway.errors import ConfigError

PREFIX = "git:"
"""Begins the name of a revision in git: `git:REF:PATH`, the path from the root of the repository."""

_TIMEOUT_SECONDS = 60
_FILE_MODES = frozenset({"100644", "100755"})


def read_git_tree(name: str, repository: Path) -> PolicyTree:
    """Return the files of `git:REF:PATH`, those that a directory would be read with.

    Raises:
        ConfigError: no such commit or path, or git cannot be asked.
    """
    ref, separator, path = name.removeprefix(PREFIX).partition(":")
    path = path.strip("/")
    if not separator or not ref or ref.startswith("-") or not path:
        raise ConfigError(f"{name!r} does not name policies in git; write git:REF:PATH, for instance git:main:policies")
    commit = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}").strip()
    if not commit:
        raise ConfigError(f"git knows no commit {ref!r} here; fetch it, or correct the name.")
    listed = _git(repository, "ls-tree", "-r", "-z", "-l", "--full-tree", commit.decode(), "--", f":(literal){path}")
    blobs: dict[str, str] = {}
    for entry in filter(None, listed.decode(errors="surrogateescape").split("\0")):
        described, _, place = entry.partition("\t")
        mode, kind, blob, size = described.split()
        inner = PurePosixPath(place).relative_to(path)
        if inner.as_posix() != MANIFEST and any(part.startswith(".") for part in inner.parts):
            continue
        if kind != "blob" or mode not in _FILE_MODES:
            raise ConfigError(f"{name}: {inner} is a link or another repository; put the files themselves there.")
        if int(size) > MAX_FILE_BYTES:
            raise ConfigError(f"{name}: {inner} is larger than {MAX_FILE_BYTES} bytes.")
        blobs[inner.as_posix()] = blob
    if not blobs:
        raise ConfigError(f"{name}: there are no files in {path} of that commit.")
    contents = _contents(repository, list(blobs.values()))
    return PolicyTree(Path(name), dict(zip(blobs, contents, strict=True)))


def _contents(repository: Path, blobs: list[str]) -> list[bytes]:
    answer = _git(repository, "cat-file", "--batch", given="".join(f"{blob}\n" for blob in blobs).encode())
    contents: list[bytes] = []
    place = 0
    for _ in blobs:
        end = answer.index(b"\n", place)
        size = int(answer[place:end].split()[2])
        contents.append(answer[end + 1 : end + 1 + size])
        place = end + 1 + size + 1
    return contents


def _git(repository: Path, *arguments: str, given: bytes = b"") -> bytes:
    """Return what git says, nothing where it refuses without a word."""
    git = shutil.which("git")
    if git is None:
        raise ConfigError("git is not installed; name a directory or a bundle instead.")
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(  # noqa: S603 - arguments are checked above
            [git, "-C", str(repository), *arguments],
            input=given, capture_output=True, check=False, timeout=_TIMEOUT_SECONDS, env=environment,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"git does not answer: {error}.") from error
    if done.returncode and done.stderr:
        raise ConfigError(f"git: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
