"""Writes the policies of a tree as a bundle: the same bytes for the same policies, readable by OPA.

Data are written as one `data.json` in canonical form. YAML is not copied: OPA reads `yes`, `1e3`, `0o7` and `1:30` as
other values than the gateway does, and both must decide on the same data.
"""

from audit.canonical import canonical
from audit.errors import CanonicalError
from gateway.authorization.bundle.archive import pack
from gateway.authorization.bundle.errors import BundleError
from gateway.authorization.bundle.names import SIGNATURES, check_kind, normal_name
from gateway.authorization.bundle.reading import unpack_bundle
from gateway.authorization.bundle.signatures import BundleSigner
from gateway.authorization.manifest import MANIFEST, Manifest
from gateway.authorization.policy_files import parse_policy_files
from gateway.authorization.policy_tree import PolicyTree
from gateway.authorization.roots import outside, parse_roots

DATA = "data.json"
"""Name of the data document."""


def write_bundle(
    tree: PolicyTree, manifest: Manifest, signer: BundleSigner | None = None, *, tests: bool = False
) -> bytes:
    """Write the Rego files and the data of a tree as a bundle (gzipped tar archive).

    The same files, manifest and key give the same bytes with the same zlib.

    Args:
        tree: the policies; of its other files, none is written.
        manifest: the manifest to write; that of the tree is not looked at.
        signer: signs the bundle.
        tests: write the Rego tests, too.

    Raises:
        ConfigError: a file cannot be read as policy or data, lies outside the roots, or has a name no bundle may hold.
    """
    parsed = parse_policy_files(tree)
    modules = (*parsed.modules, *(parsed.tests if tests else ()))
    files = {module.name: module.text.encode() for module in modules}
    for name in files:
        if normal_name(name) != name:
            raise BundleError(f"{tree.source}: the name {name!r} is not a plain path")
        check_kind(name)
    place = outside(parse_roots(manifest.roots), (), parsed.data)
    if place is not None and parsed.data:
        raise BundleError(f"{tree.source}: data.{'.'.join(place)} is outside of the manifest's roots.")
    try:
        files[DATA] = canonical(parsed.data)
    except CanonicalError as error:
        raise BundleError(f"{tree.source}: {error}.") from None
    files[MANIFEST] = manifest.to_json()
    return pack(_signed(files, signer) if signer else files)


def sign_bundle(content: bytes, signer: BundleSigner) -> bytes:
    """Return a bundle with its files as they are and a new signature in place of any it had.

    Raises:
        BundleError: it cannot be read.
    """
    files = unpack_bundle(content)
    files.pop(SIGNATURES, None)
    return pack(_signed(files, signer))


def _signed(files: dict[str, bytes], signer: BundleSigner) -> dict[str, bytes]:
    return {**files, SIGNATURES: signer.signatures(files)}
