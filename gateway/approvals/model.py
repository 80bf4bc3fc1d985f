"""What an approval is for, on which terms, and what became of it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gateway.authorization.engine import Decision

OBLIGATION = "require_approval"

VALID_SECONDS = 3600
"""How long a request can be approved and used unless the obligation says otherwise."""

State = Literal["pending", "granted", "refused", "void"]
"""`void`: who approved it lost their standing before it was used."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the policy asks for.

    Attributes:
        valid_seconds: how long a request can be approved, and the approved call be made.
        wait_seconds: how long the call waits for a decision before it is refused.
        four_eyes: whether two people have to approve.
    """

    valid_seconds: int = VALID_SECONDS
    wait_seconds: int = 0
    four_eyes: bool = False


def demanded(decision: Decision) -> Terms | None:
    """Return the terms of the approval that a decision asks for, None for none; of several, the strictest."""
    terms = None
    for obligation in decision.obligations:
        if obligation["type"] == OBLIGATION:
            asked = _terms(obligation)
            terms = asked if terms is None else _strictest(terms, asked)
    return terms


def _terms(obligation: Mapping[str, Any]) -> Terms:
    return Terms(
        obligation.get("valid_seconds", VALID_SECONDS),
        obligation.get("wait_seconds", 0),
        obligation.get("four_eyes", False),
    )


def _strictest(one: Terms, other: Terms) -> Terms:
    return Terms(
        min(one.valid_seconds, other.valid_seconds),
        min(one.wait_seconds, other.wait_seconds),
        one.four_eyes or other.four_eyes,
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """The call that an approval is for: this one again, and no other.

    Attributes:
        delegation: for whom the caller acts, the first in the chain first.
        digest: keyed digest of the body (hex).
    """

    principal: str
    delegation: tuple[str, ...]
    action: str
    resource_type: str
    resource: str
    operation: str
    system: str
    digest: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one person decided: `by` is the SPIFFE ID, `owner` who the inventory says is answerable for it."""

    by: str
    owner: str
    approve: bool
    reason: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class Approval:
    """A request for approval, and what became of it.

    Attributes:
        own: names of everybody on whose behalf the call is made: they do not decide on it.
        owner: who is answerable for the caller.
        bytes: size of the body.
        recorded: whether the request is in the audit log; before, nobody decides.
        used_ns: when the call went on, UNIX nanoseconds; 0 if it did not yet.
    """

    approval_id: str
    asked: Asked
    own: tuple[str, ...]
    owner: str
    bytes: int
    four_eyes: bool
    requested_ns: int
    expires_ns: int
    recorded: bool = False
    state: State = "pending"
    verdicts: tuple[Verdict, ...] = ()
    used_ns: int = 0

    @property
    def approvers(self) -> tuple[Verdict, ...]:
        """Who approved."""
        return tuple(each for each in self.verdicts if each.approve)

    @property
    def missing(self) -> int:
        """How many more people have to approve; 0 once it is granted."""
        return max(0, (2 if self.four_eyes else 1) - len(self.approvers))


@dataclass(frozen=True, slots=True)
class Stop:
    """An AI system that a person stopped, when (UNIX nanoseconds) and why."""

    system: str
    by: str
    reason: str
    at_ns: int
    drill: bool = False
