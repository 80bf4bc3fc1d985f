"""The starter policies that `govctl init` copies, and the two changes it makes to them."""

import json
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path

import yaml


def starter_policies() -> Path:
    """Return the directory of the starter policies: in the installed package, else in the source tree."""
    packaged = Path(str(files("gateway"))) / "starter_policies"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parent.parent / "policies"


def allow_models(policies: Path, names: Sequence[str]) -> None:
    """Grant `names` to the starter role `chat-user`, in the copy of the policies in `policies`.

    The text is changed in place, not parsed and written anew, so that its comments stay.
    """
    path = policies / "govgateway" / "roles" / "data.yaml"
    text = path.read_text()
    granted = yaml.safe_load(text)["chat-user"]["permissions"][0]["resources"]
    missing = [name for name in names if not any(fnmatchcase(name, pattern) for pattern in granted)]
    if missing:
        before = f"resources: [{', '.join(granted)}]"
        after = f"resources: [{', '.join([*granted, *(json.dumps(name) for name in missing)])}]"
        path.write_text(text.replace(before, after, 1))


def register_models(policies: Path, models: Iterable[tuple[str, str]]) -> None:
    """List models, each with its AI system, in the register of the copy of the policies in `policies`.

    Version and provider are for a person to fill in: evidence names them as they stand there.
    """
    path = policies / "govgateway" / "systems" / "data.yaml"
    text = path.read_text()
    register = yaml.safe_load(text)
    by_system: dict[str, list[str]] = {}
    for name, system in models:
        if system in register and name not in register[system].get("models", {}):
            by_system.setdefault(system, []).append(name)
    for system, names in by_system.items():
        listed = "".join(f"    {json.dumps(name)}: {{version: not said, provider: not said}}\n" for name in names)
        text = text.replace(f"\n{system}:\n", f"\n{system}:\n  models:\n{listed}", 1)
    path.write_text(text)
