"""Who may do what on the control plane: identity, policy and audit before any handler runs."""

from collections.abc import Callable
from typing import Any, Protocol

from fastapi import Request

from audit.errors import AuditUnavailableError
from audit.log import AuditLog
from gateway.authorization.engine import PolicyEngine, PolicySet
from gateway.authorization.input import admin_input
from gateway.clock import NANOSECONDS
from gateway.config import GatewayConfig
from gateway.errors import IdentityRefusedError, PolicyDeniedError, TooManyRefusalsError, UnavailableError
from gateway.refusal_budget import RefusalBudget
from gateway.standing import check_standing
from identity.registry import Agent, RegistrySnapshot
from identity.verification import PeerIdentity

SYSTEM = "ai-system:"
"""Begins the resource that a permission names to be limited to an AI system."""


class ControlState(Protocol):
    """What the control plane decides by; replaced as a whole when something is reloaded."""

    @property
    def config(self) -> GatewayConfig: ...
    @property
    def policies(self) -> PolicySet: ...
    @property
    def engine(self) -> PolicyEngine: ...
    @property
    def agents(self) -> RegistrySnapshot: ...


class Caller:
    """The caller of one control-plane request, known and allowed."""

    def __init__(self, peer: PeerIdentity, agent: Agent) -> None:
        self.peer = peer
        self.agent = agent


class AccessControl:
    """Makes one FastAPI dependency per admin action.

    Attributes:
        refusals: how many refusals of each identity are put on record; more are counted.
    """

    def __init__(self, state: Callable[[], ControlState], audit: AuditLog, now_seconds: Callable[[], int]) -> None:
        self._state = state
        self._audit = audit
        self._now = now_seconds
        self.refusals = RefusalBudget(lambda: now_seconds() * NANOSECONDS)

    def requires(self, action: str) -> Callable[[Request], Any]:
        """Return a dependency that lets only callers through whom the policy allows `action`.

        The request is recorded with its decision before the handler runs; a log that cannot be written
        refuses the request.
        """

        async def check(request: Request) -> Caller:
            state = self._state()
            connection = request.scope["extensions"]["govgateway"]
            caller = self._identify(state, connection.identity, connection.refusal)
            await self._decide(state, caller, action, "control-plane", request.url.path, request.method)
            return caller

        return check

    async def for_system(self, caller: Caller, action: str, system: str) -> None:
        """Let a caller do something to an AI system only if the policy allows it for that system too.

        What is decided on is the resource `ai-system:NAME`; it is recorded as every request is.

        Raises:
            PolicyDeniedError: it does not.
            UnavailableError: it cannot be recorded.
        """
        await self._decide(self._state(), caller, action, "ai-system", f"{SYSTEM}{system}", "")

    async def _decide(
        self, state: ControlState, caller: Caller, action: str, kind: str, resource: str, method: str
    ) -> None:
        agent, now = caller.agent, self._now()
        policy_input = admin_input(
            agent,
            state.policies.roles_of(agent.id, agent.team, agent.kind, now=now),
            action,
            resource,
            state.config.context.region,
            state.config.context.environment,
            state.policies.break_glass_of(agent.id, agent.team, agent.kind, now=now),
        )
        decision = await state.engine.decide(policy_input)
        if not decision.allow and not self.refusals.take(agent.id):
            raise TooManyRefusalsError(
                f"Too many requests of {agent.id} were refused; further ones are counted, not recorded.",
                remedy="Ask for a role that allows them instead of repeating them.",
                code="too_many_refusals",
            )
        try:
            entry = self._audit.append(
                "admin.request",
                {
                    "principal": agent.id,
                    "action": action,
                    "resource": {"type": kind, "id": resource},
                    "decision": "allow" if decision.allow else "deny",
                    "reasons": list(decision.reasons),
                    "policy": {"revision": state.policies.revision, "data_digest": state.policies.data_digest},
                    "policy_input": policy_input,
                    "peer": {"serial": caller.peer.serial, "fingerprint": caller.peer.fingerprint},
                    "method": method,
                },
            )
            await entry.durable()
        except AuditUnavailableError as error:
            raise UnavailableError(str(error), code="audit_unavailable") from error
        if not decision.allow:
            reason = state.policies.reason(decision.reasons[0] if decision.reasons else "default_deny")
            about = f" to {resource}" if kind == "ai-system" else ""
            raise PolicyDeniedError(
                f"{agent.id} may not do {action}{about}: {reason.message}", remedy=reason.remedy, code=reason.code
            )

    def _identify(self, state: ControlState, peer: PeerIdentity | None, refusal: Exception | None) -> Caller:
        if peer is None:
            raise IdentityRefusedError(
                str(refusal or "no certificate was presented"), code=getattr(refusal, "rule", "no-certificate")
            )
        check_standing(peer, None, (), state.agents, self._now() * NANOSECONDS)
        agent = state.agents.agents[peer.id]
        return Caller(peer, agent)
