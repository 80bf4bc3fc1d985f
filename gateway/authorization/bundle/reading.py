"""Reads a bundle into a policy tree: unpacked in memory, verified, and within its roots."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from gateway.authorization.bundle.errors import BundleError
from gateway.authorization.bundle.file_hash import document
from gateway.authorization.bundle.names import SIGNATURES, check_kind
from gateway.authorization.bundle.signatures import BundleVerifier
from gateway.authorization.bundle.unpacking import unpack
from gateway.authorization.manifest import MANIFEST, parse_manifest
from gateway.authorization.policy_tree import PolicyTree
from gateway.authorization.roots import outside, parse_roots
from gateway.errors import ConfigError

_DATA_FILES = frozenset({"data.json", "data.yaml"})


def read_bundle(content: bytes, source: Path, verifier: BundleVerifier | None) -> PolicyTree:
    """Read a bundle.

    Args:
        content: the bundle, a gzipped tar archive.
        source: where it came from; errors name it.
        verifier: verifies its signature. None: no signature is needed, and none is looked at.

    Returns:
        Its files without the signature.

    Raises:
        BundleError: damaged, too large, not verified, or with data outside its roots.
    """
    try:
        files = unpack_bundle(content)
        if verifier is not None:
            verifier.verify(files)
        files.pop(SIGNATURES, None)
        _check_data(files)
    except ConfigError as error:
        text = str(error)
        raise BundleError(f"The bundle {source} is refused: {text.rstrip('.')}.") from None
    return PolicyTree(source, files)


def unpack_bundle(content: bytes) -> dict[str, bytes]:
    """Return the files of a bundle by normal name, its signature among them; nothing is verified.

    Raises:
        BundleError: damaged, too large, or with a file that is not read here.
    """
    files = unpack(content)
    for name in files:
        check_kind(name)
    return files


def _check_data(files: Mapping[str, bytes]) -> None:
    roots = parse_roots(parse_manifest(files.get(MANIFEST), Path(MANIFEST)).roots)
    for name, content in files.items():
        path = PurePosixPath(name)
        if path.name not in _DATA_FILES:
            continue
        place = outside(roots, path.parent.parts, document(name, content) or {})
        if place is not None:
            covered = ", ".join("/".join(root) for root in roots) or "nothing"
            raise BundleError(f"{name} gives data.{'.'.join(place)}, outside of the manifest's roots ({covered})")
