"""The starter policies that `govctl init` copies, and the one change it makes to them."""

import json
from collections.abc import Sequence
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
