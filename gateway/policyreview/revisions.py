"""One of the two revisions that are compared: its name for people, its files, and what they load to."""

from dataclasses import dataclass, field

from gateway.authorization.policy_set import LoadedPolicySet, load_policy_tree
from gateway.authorization.policy_tree import PolicyTree


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision under review.

    Attributes:
        name: as it was named by whoever asks: a directory, a bundle, a commit.
        root: directory of its files as a reader of the report knows it, for instance `policies`; may be empty.
        policies: what the files load to.
        tree: the files.
    """

    name: str
    root: str
    policies: LoadedPolicySet = field(repr=False)
    tree: PolicyTree = field(repr=False)

    def document(self) -> dict[str, str]:
        """Return what names it in a report."""
        return {"name": self.name, "revision": self.policies.revision, "data_digest": self.policies.data_digest}


def load_revision(tree: PolicyTree, name: str, root: str = "") -> Revision:
    """Load a revision as the gateway would.

    Raises:
        ConfigError: the policies cannot be used.
    """
    return Revision(name, root, load_policy_tree(tree), tree)
