"""Opens the two revisions that a review compares: directories, bundles, commits, or what the gateway runs."""

from pathlib import Path

from gateway.app import policy_store
from gateway.authorization.bundle import read_bundle
from gateway.authorization.policy_tree import read_policy_tree
from gateway.cli.policy.activating import read_bundle_file
from gateway.cli.policy.git_tree import PREFIX, read_git_tree
from gateway.config import GatewayConfig
from gateway.policyreview.revisions import Revision, load_revision

NAMES = "a directory, a bundle, or git:REF:PATH"


def open_revision(name: str) -> Revision:
    """Open the revision with this name; a bundle's signature is not looked at.

    Raises:
        ConfigError: it cannot be read or used.
    """
    if name.startswith(PREFIX):
        return load_revision(read_git_tree(name, Path()), name, name.split(":", 2)[2].strip("/"))
    path = Path(name)
    if path.is_dir():
        return load_revision(read_policy_tree(path), name, _root(path))
    return load_revision(read_bundle(read_bundle_file(path), path, None), name)


def running_revision(config: GatewayConfig) -> Revision:
    """Open the revision that the gateway decides by, or would if it were started now."""
    store = policy_store(config)
    active = store.history().active
    if active is None:
        return configured_revision(config)
    tree = read_bundle(store.get(active.digest), Path(active.source), None)
    return load_revision(tree, f"active ({active.source})")


def configured_revision(config: GatewayConfig) -> Revision:
    """Open the policies in the configured directory."""
    return open_revision(str(config.policy.directory))


def _root(path: Path) -> str:
    """Return a directory as it is known from here; empty for one elsewhere, which would say nothing to others."""
    resolved, here = path.resolve(), Path.cwd()
    return resolved.relative_to(here).as_posix() if resolved.is_relative_to(here) else ""
