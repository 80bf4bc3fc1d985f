"""Revisions of policies, made as a pipeline makes them: built and signed with govctl."""

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from tests.support.running_gateway import RunningGateway, govctl


class PolicyAuthor:
    """Keeps a directory of policies and a signing key, and builds revisions of them.

    Args:
        directory: where the keys and bundles go.
        policies: the policies to begin with; copied.
    """

    def __init__(self, directory: Path, policies: Path, key_id: str = "ci", algorithm: str = "ES256") -> None:
        self.directory = directory
        self.key_id = key_id
        directory.mkdir(parents=True, exist_ok=True)
        self.policies = Path(shutil.copytree(policies, directory / "policies"))
        govctl(directory, "policy", "keygen", "--out", ".", "--key-id", key_id, "--algorithm", algorithm)
        self.public = directory / f"{key_id}.public.pem"
        self.private = directory / f"{key_id}.private.pem"
        self._serial = 0

    def configuration(self, **policy: Any) -> dict[str, Any]:
        """Return what a gateway is told to take this author's revisions."""
        keys = [{"id": self.key_id, "file": str(self.public)}]
        return {"policy": {"source": "bundle", "keys": keys, **policy}}

    def bind(self, subject: str, roles: list[Any]) -> None:
        """Bind roles to a subject; none unbinds it."""
        self.edit(
            "bindings",
            lambda table: {**{k: v for k, v in table.items() if k != subject}, **({subject: roles} if roles else {})},
        )

    def edit(self, name: str, change: Any) -> None:
        """Replace a table by what `change` makes of it."""
        path = self.policies / "govgateway" / name / "data.yaml"
        path.write_text(yaml.safe_dump(change(yaml.safe_load(path.read_text()) or {})))

    def build(self, revision: str, *more: str, signed: bool = True, serial: int | None = None) -> Path:
        """Build a revision; each has a higher serial number than the one before."""
        self._serial += 1
        out = self.directory / f"{revision}.tar.gz"
        signing = ("--signing-key", str(self.private), "--key-id", self.key_id) if signed else ()
        number = str(self._serial if serial is None else serial)
        govctl(
            self.directory, "policy", "build", "--directory", str(self.policies), "--out", str(out),
            "--revision", revision, "--serial", number, *signing, *more,
        )  # fmt: skip
        return out


def activate(gateway: RunningGateway, bundle: Path, *more: str) -> dict[str, Any]:
    """Activate a bundle and return the activation."""
    done = govctl(gateway.directory, "policy", "activate", str(bundle), "--json", *more)
    return json.loads(done.stdout)


def refused(gateway: RunningGateway, *arguments: str) -> str:
    """Run `govctl policy …`, which must be refused; return why."""
    done = govctl(gateway.directory, "policy", *arguments, check=False)
    assert done.returncode == 1, done.stdout
    return done.stderr
