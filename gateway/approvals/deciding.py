"""What people decide: whether a call is approved, which system is stopped, which output was not followed.

Who may be asked is checked before: here is what holds for every person. Nobody decides on a call that is made on their
own behalf; where two people have to approve, they are two, and whoever is answerable for the caller is not alone. What
a person decides is in the audit log before it counts; only a stop takes effect first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.approvals.model import Approval, State, Stop, Verdict
from gateway.approvals.store import OversightStore
from gateway.clock import NANOSECONDS, Clock
from gateway.errors import NotFoundError, PolicyDeniedError, RequestError
from gateway.people import person, says_something

MAX_REASON = 2000
"""Longest reason (characters)."""

Record = Callable[[str, dict[str, Any]], None]
"""Writes an audit record and returns once it is durable; raises if it will not be."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who decides: an identity of the inventory, and who is answerable for it.

    Attributes:
        peer: serial number and fingerprint of the certificate that proved it.
    """

    id: str
    owner: str
    peer: dict[str, str]

    @property
    def names(self) -> frozenset[str]:
        """Every name by which the person counts."""
        return frozenset({person(self.id), person(self.owner)})


class Decisions:
    """Takes people's decisions, in one process.

    Args:
        store: what the workers share.
        record: writes to the audit log.
        clock: the time.
    """

    def __init__(self, store: OversightStore, record: Record, clock: Clock) -> None:
        self._store = store
        self._record = record
        self._clock = clock

    def grant(self, approval_id: str, by: Person, reason: str) -> Approval:
        """Approve a call, or be the first of two who do.

        Raises:
            NotFoundError: there is no such request.
            PolicyDeniedError: this person may not approve it.
            RequestError: it cannot be approved any more, or there is no reason.
        """
        approval, verdict = self._considered(approval_id, by, reason, approve=True)
        missing = approval.missing - 1
        state: State = "pending" if missing else "granted"
        fields = self._fields(approval, verdict, by)
        self._record("oversight.approved", {**fields, "missing": missing})
        return self._kept(approval, verdict, state)

    def refuse(self, approval_id: str, by: Person, reason: str) -> Approval:
        """Refuse a call, or take an approval back that was not used. Raises as `grant`."""
        approval, verdict = self._considered(approval_id, by, reason, approve=False)
        fields = self._fields(approval, verdict, by)
        self._record("oversight.refused", {**fields, "withdrawn": approval.state == "granted"})
        return self._kept(approval, verdict, "refused")

    def _considered(self, approval_id: str, by: Person, reason: str, *, approve: bool) -> tuple[Approval, Verdict]:
        approval = self._store.get(approval_id)
        if approval is None or not approval.recorded:
            raise NotFoundError(
                f"There is no request for approval {approval_id}.", remedy="List them: govctl approve list."
            )
        text = checked_reason(reason)
        if by.names & {person(each) for each in approval.own}:
            raise _not_allowed("Nobody decides on a call that is made on their own behalf.", "own_call")
        now = self._clock()
        if approval.used_ns:
            raise _settled(approval, "it was used already")
        if now >= approval.expires_ns:
            raise _settled(approval, "it has expired")
        if approval.state not in ({"pending"} if approve else {"pending", "granted"}):
            raise _settled(approval)
        if approve and any(by.names & {person(each.by), person(each.owner)} for each in approval.approvers):
            raise _not_allowed("You approved this call already; another person has to approve it too.", "same_person")
        return approval, Verdict(by.id, by.owner, approve, text, now)

    def _fields(self, approval: Approval, verdict: Verdict, by: Person) -> dict[str, Any]:
        asked = approval.asked
        return {
            "principal": verdict.by,
            "approval": approval.approval_id,
            "agent": asked.principal,
            "action": asked.action,
            "resource": {"type": asked.resource_type, "id": asked.resource},
            "system": asked.system,
            "cause": verdict.reason,
            "seconds": max(0, verdict.at_ns - approval.requested_ns) // NANOSECONDS,
            "peer": by.peer,
        }

    def _kept(self, approval: Approval, verdict: Verdict, state: State) -> Approval:
        kept = self._store.decide(approval, verdict, state)
        if kept is None:
            raise _settled(approval, "it was decided or used at the same moment")
        return kept


class Halting:
    """Stops systems and lets them be called again; by a person over the control plane, or an operator beside it.

    Args: as `Decisions`.
    """

    def __init__(self, store: OversightStore, record: Record, clock: Clock) -> None:
        self._store = store
        self._record = record
        self._clock = clock

    def stop(
        self, system: str, by: str, reason: str, *, peer: dict[str, str] | None = None, drill: bool = False
    ) -> Stop:
        """Stop a system: at once, and then on record.

        Raises:
            RequestError: it is stopped already, or there is no reason.
        """
        stop = Stop(system, by, checked_reason(reason), self._clock(), drill)
        if not self._store.stop(stop):
            raise RequestError(f"The AI system {system} is stopped already.", code="already_stopped")
        self._record(
            "oversight.stopped",
            {"principal": by, "system": system, "cause": stop.reason, "drill": drill, **_peer(peer)},
        )
        return stop

    def resume(self, system: str, by: str, reason: str, *, peer: dict[str, str] | None = None) -> Stop:
        """Let a system be called again, once that is on record.

        Raises:
            RequestError: it is not stopped, or there is no reason.
        """
        text = checked_reason(reason)
        stop = self._store.stops().get(system)
        if stop is None:
            raise RequestError(f"The AI system {system} is not stopped.", code="not_stopped")
        seconds = max(0, self._clock() - stop.at_ns) // NANOSECONDS
        fields = {"principal": by, "system": system, "cause": text, "drill": stop.drill, "seconds": seconds}
        self._record("oversight.resumed", {**fields, **_peer(peer)})
        self._store.resume(system)
        return stop


def check_known(system: str, systems: Sequence[str]) -> None:
    """Refuse a system that no model belongs to: stopping it would stop nothing.

    Raises:
        NotFoundError: it is none of them.
    """
    if system not in systems:
        raise NotFoundError(
            f"No model of this gateway belongs to the AI system {system}.",
            remedy=f"Known are: {', '.join(sorted(set(systems))) or 'none'}.",
            code="system_unknown",
        )


def checked_reason(reason: str) -> str:
    """Return a reason that says something.

    Raises:
        RequestError: it does not.
    """
    text = reason.strip()[:MAX_REASON]
    if not says_something(text):
        raise RequestError("A decision needs a reason.", remedy="Give one; it goes to the log.", code="reason_missing")
    return text


def _peer(peer: dict[str, str] | None) -> dict[str, Any]:
    return {"peer": peer} if peer is not None else {}


def _not_allowed(detail: str, code: str) -> PolicyDeniedError:
    return PolicyDeniedError(detail, remedy="Let another person decide.", code=code)


def _settled(approval: Approval, why: str = "") -> RequestError:
    return RequestError(
        f"The request {approval.approval_id} cannot be decided any more: {why or f'it is {approval.state}'}.",
        remedy="The caller asks anew by sending its request again.",
        code="approval_settled",
    )
