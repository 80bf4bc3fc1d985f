"""The states of an identity: which follows which, and who may bring it about.

| from        | to                               | who                                        |
| ----------- | -------------------------------- | ------------------------------------------ |
| (new)       | pending                          | anybody who may register                   |
| (new)       | active                           | the same; not the owner if the risk is high |
| pending     | active                           | anybody; not the owner if the risk is high |
| pending     | retired                          | anybody                                    |
| active      | suspended, quarantined, retired  | anybody                                    |
| suspended   | active                           | anybody; not the owner if the risk is high |
| suspended   | quarantined, retired             | anybody                                    |
| quarantined | suspended, retired               | not the owner                              |
| retired     | nothing: it is final             | nobody                                     |

"Anybody" is whoever the control plane or the file system lets act; what is added here is the second pair of eyes.
An actor is written `operator:<user>` by govctl and as a SPIFFE ID by the control plane. The owner is told from it by
name: `operator:ada`, `ada` and `ada@example.org` are one person.
"""

from collections.abc import Mapping
from types import MappingProxyType

from identity.errors import RegistryError

KINDS = ("agent", "service", "pipeline", "human")
STATUSES = ("pending", "active", "suspended", "quarantined", "retired")
RISK_TIERS = ("minimal", "limited", "high")

TRANSITIONS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "pending": frozenset({"active", "retired"}),
        "active": frozenset({"suspended", "quarantined", "retired"}),
        "suspended": frozenset({"active", "quarantined", "retired"}),
        "quarantined": frozenset({"suspended", "retired"}),
        "retired": frozenset(),
    }
)


def check_transition(spiffe_id: str, before: str, after: str, *, by: str, owner: str, risk_tier: str) -> None:
    """Check a change of state; `before` is empty for a registration.

    Raises:
        RegistryError: the change is not allowed, or not to this actor.
    """
    check_actor(by)
    if before and after not in TRANSITIONS[before]:
        allowed = ", ".join(sorted(TRANSITIONS[before])) or "nothing: it is final"
        raise RegistryError(f"{spiffe_id} is {before}; from there it can become: {allowed}")
    if not same_person(by, owner):
        return
    if before == "quarantined":
        raise RegistryError(f"{spiffe_id} is quarantined; somebody other than its owner, {owner}, has to release it")
    if after == "active" and risk_tier == "high":
        start = "" if before else "; register it as pending first"
        raise RegistryError(
            f"{spiffe_id} is of high risk; somebody other than its owner, {owner}, has to activate it{start}"
        )


def check_actor(by: str) -> None:
    """Refuse a change that nobody answers for.

    Raises:
        RegistryError: no actor is named.
    """
    if not by.strip():
        raise RegistryError("a change needs the name of who makes it")


def same_person(actor: str, owner: str) -> bool:
    """Whether an actor is the owner, as far as the names tell. Doubt counts as yes."""
    return _name(actor) == _name(owner)


def _name(who: str) -> str:
    who = who.strip().casefold()
    if who.startswith("spiffe://"):
        return who
    return who.rpartition(":")[2].partition("@")[0].strip()
