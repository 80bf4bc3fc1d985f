"""Names of files in a bundle: one way to write each, and none that OPA would read as something else.

Rules: www.openpolicyagent.org, bundle file format. OPA reads a name with and without `/` or `./` in front alike, so
they are one name here, too.
"""

from pathlib import PurePosixPath

from gateway.authorization.bundle.errors import BundleError
from gateway.authorization.manifest import MANIFEST

SIGNATURES = ".signatures.json"
"""Name of the file that holds the signature."""

MAX_NAME_BYTES = 1024
"""Longest name (bytes of UTF-8)."""

_REFUSED = {
    "patch.json": "this is a delta bundle, which no signature covers; publish a whole bundle",
    "policy.wasm": "WebAssembly cannot be reviewed here; build the bundle with the target rego",
    "plan.json": "an evaluation plan cannot be reviewed here; build the bundle with the target rego",
    "plan.pb": "an evaluation plan cannot be reviewed here; build the bundle with the target rego",
    ".manifest.pb": "the manifest is read as JSON only; build the bundle with a JSON manifest",
}


def normal_name(name: str) -> str:
    """Return a name as it is written here: relative, with forward slashes.

    Raises:
        BundleError: it leaves the bundle, or can be read in two ways.
    """
    if len(name.encode(errors="replace")) > MAX_NAME_BYTES:
        raise BundleError(f"the name {name[:40]!r}… has more than {MAX_NAME_BYTES} bytes")
    if "\\" in name or any(character < " " or character == "\x7f" for character in name):
        raise BundleError(f"the name {name!r} holds a backslash or a control character")
    relative = name[2:] if name.startswith("./") else name.removeprefix("/")
    if any(part in {"", ".", ".."} for part in relative.split("/")):
        raise BundleError(f"the name {name!r} does not stay below the root of the bundle, or is no plain path")
    return relative


def check_kind(name: str) -> None:
    """Check that a file of this normal name may be in a bundle.

    Raises:
        BundleError: it would change what the bundle means, and is not read here.
    """
    if name in {MANIFEST, SIGNATURES}:
        return
    path = PurePosixPath(name)
    if path.name in _REFUSED:
        raise BundleError(f"it holds {name}: {_REFUSED[path.name]}")
    if name.endswith(MANIFEST) or path.name == SIGNATURES:
        raise BundleError(f"it holds {name}: a bundle has one manifest and one signature, at its root")
    if any(part.startswith(".") for part in path.parts):
        raise BundleError(
            f"it holds {name}: of the names that begin with a dot, only {MANIFEST} and {SIGNATURES} are read"
        )
