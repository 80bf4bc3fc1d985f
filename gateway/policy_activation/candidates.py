"""Turns bytes into a revision that may be activated: verified, loaded, tried out, and allowed by the rules."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from gateway.authorization.bundle import BundleVerifier, read_bundle, write_bundle
from gateway.authorization.manifest import Manifest
from gateway.authorization.policy_set import EngineName, LoadedPolicySet, load_policy_tree
from gateway.authorization.policy_tree import PolicyTree, read_policy_tree
from gateway.authorization.rego_tests import run_rego_tests
from gateway.config.policy import Policy
from gateway.errors import ConfigError
from gateway.policy_activation.rules import check_order, check_requirements
from gateway.policy_activation.store import Activation, PolicyStore


@dataclass(frozen=True, slots=True)
class Candidate:
    """A revision that was checked.

    Attributes:
        content: the bundle.
        policies: what it holds, loaded.
        source: where it came from, for people.
    """

    content: bytes
    policies: LoadedPolicySet
    source: str

    @property
    def digest(self) -> str:
        """SHA-256 of the bundle (hex)."""
        return sha256(self.content).hexdigest()

    def activation(self, *, time: int, by: str, rollback: bool = False, reason: str = "") -> Activation:
        """Return the record of its activation."""
        return Activation(
            digest=self.digest,
            revision=self.policies.revision,
            data_digest=self.policies.data_digest,
            time=time,
            by=by,
            source=self.source,
            rollback=rollback,
            reason=reason,
            change=self.policies.manifest.change,
        )


def verifier_of(policy: Policy) -> BundleVerifier | None:
    """Return what verifies bundles under this configuration; None where they are taken unsigned.

    Raises:
        ConfigError: a key cannot be read or used.
    """
    if not policy.keys:
        return None
    try:
        return BundleVerifier({key.id: key.file.read_bytes() for key in policy.keys})
    except OSError as error:
        raise ConfigError(f"policy.keys: {error.filename} cannot be read: {error.strerror}.") from error


def candidate_of_bundle(
    content: bytes, source: str, policy: Policy, active: Activation | None, *, rollback: bool = False
) -> Candidate:
    """Check a bundle as a revision to activate.

    Args:
        content: the bundle.
        source: where it came from; errors name it.
        policy: the configuration.
        active: the activation in force.
        rollback: whether an older revision is wanted.

    Raises:
        ConfigError: signature, form, policies, self-tests, requirements or order; the message says which.
    """
    tree = read_bundle(content, Path(source), verifier_of(policy))
    policies = load_policy_tree(tree, engine=policy.engine)
    if policy.engine == "opa" and not policies.manifest.revision:
        raise ConfigError(
            f"{source}: its manifest names no revision, by which OPA says what it runs; build it with one."
        )
    check_requirements(policies.manifest.change, policy.require)
    check_order(policies.manifest.change, active.change if active else None, rollback=rollback)
    _check_tests(policies, source)
    return Candidate(content, policies, source)


def candidate_to_watch(content: bytes, source: str, policy: Policy) -> Candidate:
    """Check a bundle that is to decide beside the active revision: it need not be approved yet, but signed.

    Raises:
        ConfigError: signature, form or policies.
    """
    return Candidate(content, load_policy_tree(read_bundle(content, Path(source), verifier_of(policy))), source)


def candidate_of_directory(policy: Policy) -> Candidate:
    """Load the policies of the configured directory, as one bundle that every worker then loads.

    Raises:
        ConfigError: the policies cannot be used.
    """
    tree = read_policy_tree(policy.directory)
    loaded = load_policy_tree(tree, engine=policy.engine)
    manifest = Manifest(loaded.revision, loaded.manifest.roots, loaded.manifest.change)
    return Candidate(write_bundle(tree, manifest), loaded, str(policy.directory))


def load_stored(store: PolicyStore, digest: str, source: str, engine: EngineName) -> LoadedPolicySet:
    """Load a bundle of the store, which was verified when it was put there.

    Raises:
        ConfigError: it is gone or was changed.
    """
    return load_policy_tree(_named(store.get(digest), Path(source)), engine=engine)


def _named(content: bytes, source: Path) -> PolicyTree:
    return read_bundle(content, source, None)


def _check_tests(policies: LoadedPolicySet, source: str) -> None:
    """Run the tests that a bundle brings along."""
    failed = [each for each in run_rego_tests(policies) if not each.passed]
    if failed:
        named = ", ".join(f"{each.name} ({each.file})" for each in failed[:5])
        raise ConfigError(f"{source}: {len(failed)} of its own tests fail: {named}. Correct the policies or the tests.")
