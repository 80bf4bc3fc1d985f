"""The obligation `require_approval` and stopped systems, for one worker.

A call that a person has to approve is refused with the id of a request for approval. The same call of the same caller
then passes once, after a person approved it and before the request expires. Whether it passes is decided by one
transaction in the file that all workers share.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from audit.errors import AuditUnavailableError
from audit.log import AuditLog
from gateway.approvals.model import Approval, Asked, Stop, Terms
from gateway.approvals.store import OversightStore
from gateway.clock import NANOSECONDS, Clock
from gateway.errors import (
    ApprovalRefusedError,
    ApprovalRequiredError,
    SystemStoppedError,
    UnavailableError,
)
from gateway.exchange import Exchange
from gateway.runtime import Runtime
from identity.registry import Agent, RegistrySnapshot

MAX_WAITING = 100
"""Most calls of one worker that wait for a decision; further ones are refused at once."""


class OversightGate:
    """Lets calls through that a person approved.

    Attributes:
        stops: the systems that are stopped, as of the last `look`.

    Args:
        audit: takes the records.
        store: what is shared by all workers.
        clock: the time.
    """

    def __init__(self, audit: AuditLog, store: OversightStore, clock: Clock) -> None:
        self._audit = audit
        self._store = store
        self._clock = clock
        self._news = asyncio.Event()
        self._generation = -1
        self._waiting = 0
        self.stops: Mapping[str, Stop] = {}

    def look(self) -> bool:
        """Look for what people decided meanwhile; True if there is anything new. Call a few times a second.

        Raises:
            UnavailableError: the file cannot be read.
        """
        generation = self._store.generation()
        if generation == self._generation:
            return False
        self.stops = self._store.stops()
        self._generation = generation
        self._news.set()
        self._news = asyncio.Event()
        return True

    async def obtain(
        self, exchange: Exchange, terms: Terms, runtime: Runtime, agents: Callable[[], RegistrySnapshot]
    ) -> None:
        """Let the call go on if it is approved, after the wait that its obligation allows.

        Args:
            exchange, runtime: the call, and what it was decided by.
            terms: of the obligation.
            agents: returns the inventory as it is now.

        Raises:
            ApprovalRequiredError, ApprovalRefusedError: it is not.
            TooManyRefusalsError: the caller has too many open requests.
            UnavailableError: that cannot be told, or not be put on record.
        """
        approval = await self._request(exchange, terms, runtime)
        if terms.wait_seconds and approval.state == "pending" and self._waiting < MAX_WAITING:
            self._waiting += 1
            try:
                approval = await self._decided(approval, terms.wait_seconds)
            finally:
                self._waiting -= 1
        exchange.approval = approval
        if approval.state == "granted" and not self._stands(approval, agents()):
            await asyncio.to_thread(self._store.withdraw, approval.approval_id)
            exchange.approval = approval = await self._request(exchange, terms, runtime)
        if approval.state == "refused":
            raise _refused(approval)
        if approval.state != "granted":
            raise _required(approval)

    async def use(self, exchange: Exchange, terms: Terms, runtime: Runtime) -> None:
        """Use the approval up that the call has: from now on it is this call's alone.

        Raises:
            ApprovalRequiredError: another call was faster; this one needs an approval of its own.
            UnavailableError: that cannot be told.
        """
        approval = exchange.approval
        assert approval is not None  # noqa: S101 - `obtain` came before
        if not await asyncio.to_thread(self._store.use, approval.approval_id, self._clock()):
            exchange.approval = approval = await self._request(exchange, terms, runtime)
            raise _refused(approval) if approval.state == "refused" else _required(approval)

    def record_use(self, exchange: Exchange) -> None:
        """Put on record that the call went on. Its intent is in the log already, and names the approval."""
        approval = exchange.approval
        assert approval is not None and exchange.peer is not None  # noqa: S101, PT018 - `use` came before
        decided_ns = max(each.at_ns for each in approval.approvers)
        fields = {
            "principal": exchange.peer.id,
            "approval": approval.approval_id,
            "of": exchange.request_id,
            "system": approval.asked.system,
            "approved_by": [each.by for each in approval.approvers],
            "seconds": max(0, self._clock() - decided_ns) // NANOSECONDS,
        }
        self._audit.append("oversight.used", fields, keep=True)

    async def _request(self, exchange: Exchange, terms: Terms, runtime: Runtime) -> Approval:
        """Return the request that stands for this call, put on record if that was not done yet."""
        peer, agent, call = exchange.peer, exchange.agent, exchange.call
        assert peer and agent and call  # noqa: S101, PT018 - set by the pipeline's first steps
        asked = Asked(
            peer.id, tuple(exchange.delegation), call.action, call.resource_type, call.resource_id, call.operation,
            exchange.policy_input["resource"]["system"], self._audit.digest(exchange.body),
        )  # fmt: skip
        own = _own(agent, exchange.delegators)

        def request() -> Approval:
            return self._store.request(
                asked, terms, own=own, owner=agent.owner, size=len(exchange.body), now_ns=self._clock()
            )

        approval = await asyncio.to_thread(request)
        if not approval.recorded:
            # Also where another worker is at it at this moment: twice on record is better than not at all.
            await self._record_request(exchange, approval, runtime)
            approval = await asyncio.to_thread(self._store.recorded, approval)
        return approval

    async def _record_request(self, exchange: Exchange, approval: Approval, runtime: Runtime) -> None:
        asked, policies = approval.asked, runtime.policies
        fields: dict[str, Any] = {
            "principal": asked.principal,
            "delegation": list(asked.delegation),
            "approval": approval.approval_id,
            "action": asked.action,
            "resource": {"type": asked.resource_type, "id": asked.resource},
            "operation": asked.operation,
            "system": asked.system,
            "request": {"bytes": approval.bytes, "digest": asked.digest},
            "policy": {"revision": policies.revision, "data_digest": policies.data_digest},
            "four_eyes": approval.four_eyes,
            "expires_at": approval.expires_ns // NANOSECONDS,
            "trace_id": exchange.trace.trace_id if exchange.trace else "",
        }
        try:
            await self._audit.append("oversight.requested", fields).durable()
        except AuditUnavailableError as error:
            raise UnavailableError(str(error), code="audit_unavailable") from error

    async def _decided(self, approval: Approval, seconds: float) -> Approval:
        """Return the request once somebody decided on it, or as it is after `seconds`."""
        until = asyncio.get_running_loop().time() + seconds
        while True:
            news = self._news
            found = await asyncio.to_thread(self._store.get, approval.approval_id)
            approval = found or approval
            if approval.state != "pending":
                return approval
            try:
                async with asyncio.timeout_at(until):
                    await news.wait()
            except TimeoutError:
                return approval

    @staticmethod
    def _stands(approval: Approval, agents: RegistrySnapshot) -> bool:
        """Whether all who approved are still who they were: an approval does not outlive its approver's standing."""
        return all(
            (agent := agents.get(each.by)) is not None
            and agent.status == "active"
            and agent.kind == "human"
            and agents.refusal(each.by, "", ()) is None
            for each in approval.approvers
        )


def check_not_stopped(stops: Mapping[str, Stop], exchange: Exchange) -> None:
    """Refuse a call of a stopped system.

    Raises:
        SystemStoppedError: it is one.
    """
    resource = exchange.policy_input.get("resource")
    if resource and resource["system"] in stops:
        raise stopped(resource["system"])


def stopped(system: str) -> SystemStoppedError:
    """Return the refusal of calls of a stopped system. The person's reason is in the log, and not told to callers."""
    return SystemStoppedError(
        f"A person stopped the AI system {system}.",
        remedy="Ask those who oversee the system; it can be called again once one of them resumes it.",
        code="system_stopped",
        extensions={"system": system},
    )


def _own(agent: Agent, delegators: tuple[Agent, ...]) -> tuple[str, ...]:
    """Return the names of those on whose behalf a call is made: its links, and the people that links are."""
    links = (agent, *delegators)
    people = {link.owner for link in links if link.kind == "human"}
    return tuple(sorted({link.id for link in links} | people))


def _told(approval: Approval) -> dict[str, object]:
    return {
        "approval": {
            "id": approval.approval_id,
            "state": approval.state,
            "system": approval.asked.system,
            "four_eyes": approval.four_eyes,
            "approvals_missing": approval.missing,
            "expires_at": _time(approval.expires_ns),
        }
    }


def _required(approval: Approval) -> ApprovalRequiredError:
    people = "Two people have" if approval.four_eyes else "A person has"
    return ApprovalRequiredError(
        f"{people} to approve this call of {approval.asked.system or approval.asked.resource}: {approval.approval_id}.",
        remedy=f"An overseer approves it with: govctl approve grant {approval.approval_id}. Then send the same request "
        f"again, before {_time(approval.expires_ns)}; it passes once.",
        code="approval_required",
        extensions=_told(approval),
    )


def _refused(approval: Approval) -> ApprovalRefusedError:
    return ApprovalRefusedError(
        f"A person refused to approve this call: {approval.approval_id}.",
        remedy=f"Ask those who oversee the system. Approval can be asked for anew after {_time(approval.expires_ns)}.",
        code="approval_refused",
        extensions=_told(approval),
    )


def _time(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // NANOSECONDS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
