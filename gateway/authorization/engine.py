"""The policy seam: one entry point, one decision per request, and anything unclear is a deny."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

PolicyInput = Mapping[str, Any]
"""The input document of the policy contract (docs/architecture.md), JSON values without floats."""

KNOWN_OBLIGATIONS = frozenset(
    {"clamp_max_tokens", "route_region", "log_content_sealed", "require_approval", "watermark_notice"}
)
"""Obligations this gateway can carry out. A decision with any other is a deny."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision of the policy `data.govgateway.authz.decision`.

    Attributes:
        allow: whether the call may go on.
        reasons: stable reason codes; for a deny at least one.
        obligations: what the gateway has to do, each with a `type` of `KNOWN_OBLIGATIONS`.
        cache_seconds: how long the decision may be reused for an identical input (seconds, 0: never).
        needs_approval: whether one of the obligations is `require_approval`. Looked for once, since a decision is
            reused for many calls.
    """

    allow: bool
    reasons: tuple[str, ...] = ()
    obligations: tuple[Mapping[str, Any], ...] = ()
    cache_seconds: int = 0
    needs_approval: bool = field(init=False, compare=False, repr=False)
    needs_notice: bool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Look through the obligations."""
        asked = {each["type"] for each in self.obligations}
        object.__setattr__(self, "needs_approval", "require_approval" in asked)
        object.__setattr__(self, "needs_notice", "watermark_notice" in asked)


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason code explained for a person."""

    code: str
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class System:
    """An AI system of the register, as the policy data describe it."""

    id: str
    risk: str
    data_classes: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)


class PolicyEngine(Protocol):
    """Decides. Implementations answer a deny, never an exception, for a policy that misbehaves."""

    async def decide(self, policy_input: PolicyInput) -> Decision:
        """Return the decision for this input.

        Raises:
            gateway.errors.UnavailableError: the engine itself is away (a remote one does not answer).
        """


class PolicySet(Protocol):
    """One loaded, checked and immutable revision of the policies and their data.

    Attributes:
        revision: name of the revision (manifest revision, else the digest of the Rego files).
        data_digest: SHA-256 of the canonical data document (hex).
    """

    @property
    def revision(self) -> str: ...
    @property
    def data_digest(self) -> str: ...

    def roles_of(self, principal_id: str, team: str, kind: str, *, now: int) -> tuple[str, ...]:
        """Return the sorted roles bound to the principal at `now` (UNIX seconds), looked up in an index."""

    def break_glass_of(self, principal_id: str, team: str, kind: str, *, now: int) -> tuple[str, ...]:
        """Return those of its roles that the principal holds at `now` (UNIX seconds) through break-glass alone."""

    def system(self, system_id: str) -> System | None:
        """Return the AI system of the register, or None if the register does not know it."""

    def reason(self, code: str) -> Reason:
        """Explain a reason code; an unknown code explains itself by its name."""

    def limits(self) -> tuple[Mapping[str, Any], ...]:
        """Return the quota limits of the policy data, as written (see `gateway.quota.limits`)."""
