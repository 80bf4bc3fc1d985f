"""The inventory of non-human identities: who they are, who owns them, whether they stand, and what is revoked.

Several processes share it: govctl writes, the gateway's processes poll `generation`, which every change raises in the
same transaction, and take a new `snapshot` when it moved. Reading waits for no writer.
"""

from identity.registry.admission import AttestedNode, UsedTokens
from identity.registry.inventory import DESCRIPTION, Agent, Transition
from identity.registry.lifecycle import KINDS, RISK_TIERS, STATUSES, TRANSITIONS
from identity.registry.registry import NewSvid, Registry
from identity.registry.reviews import DECISIONS, Campaign, ReviewItem
from identity.registry.revocations import LIFTABLE, REVOCATION_KINDS, Revocation
from identity.registry.snapshot import RegistrySnapshot
from identity.registry.usage import Usage

__all__ = [
    "DECISIONS",
    "DESCRIPTION",
    "KINDS",
    "LIFTABLE",
    "REVOCATION_KINDS",
    "RISK_TIERS",
    "STATUSES",
    "TRANSITIONS",
    "Agent",
    "AttestedNode",
    "Campaign",
    "NewSvid",
    "Registry",
    "RegistrySnapshot",
    "ReviewItem",
    "Revocation",
    "Transition",
    "Usage",
    "UsedTokens",
]
