"""The life of the authorities of one kind, as a pure state machine: prepared, active, old, tainted, revoked.

Rules, as in SPIRE:

1. At most one authority is active and at most one prepared; those that were active before are old.
2. The next one is prepared at half the life of the active one and activated at five sixths. What it is verified with
   is published from its preparation on, and it is not activated by itself before that could be fetched everywhere.
3. An active authority at its end is followed at once: there is nothing left to wait for.
4. Only an old authority is tainted, and only a tainted one revoked. So holders get SVIDs of another authority first,
   and the active one is never without a successor.
5. An authority leaves by its expiry, by its revocation, or, while it is only prepared, by another preparation.

Times are UNIX seconds.
"""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal

from identity.errors import AuthorityError

State = Literal["prepared", "active", "old"]

PUBLISHED_AHEAD = 1500
"""Seconds between publishing and use: five times the usual refresh hint."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One authority.

    Attributes:
        authority_id: subject key id of its key (hex).
        state: where it stands.
        not_before, not_after: its validity (UNIX seconds).
        prepared_at: when it was made and published (UNIX seconds).
        key_id: its private key in the key manager.
        key_type: one of `identity.keys.KEY_TYPES`.
        material: PEM. X.509: its certificate, then those above it without the root. JWT: its public key.
        root_id: X.509: subject key id of its root (hex).
        tainted: whether what it signed must be replaced now.
    """

    authority_id: str
    state: State
    not_before: int
    not_after: int
    prepared_at: int
    key_id: str
    key_type: str
    material: str
    root_id: str = ""
    tainted: bool = False


Slots = tuple[Slot, ...]


class Step(Enum):
    """What is due."""

    PREPARE = "prepare"
    ACTIVATE = "activate"


def in_state(slots: Slots, state: State) -> Slot | None:
    """Return the first authority in a state; for `active` and `prepared` there is at most one."""
    return next((slot for slot in slots if slot.state == state), None)


def check(slots: Slots) -> None:
    """Check rules 1 and 4 on what was read from elsewhere.

    Raises:
        AuthorityError: a rule is broken.
    """
    states = [slot.state for slot in slots]
    unique = len({slot.authority_id for slot in slots}) == len(slots)
    fresh_taint = any(slot.tainted and slot.state != "old" for slot in slots)
    if states.count("active") > 1 or states.count("prepared") > 1 or not unique or fresh_taint:
        raise AuthorityError("the states of the authorities contradict each other; restore them from a backup")


def due(slots: Slots, now: int) -> Step | None:
    """Return the next step by rules 2 and 3."""
    active, prepared = in_state(slots, "active"), in_state(slots, "prepared")
    if active is None or now >= active.not_after:
        return Step.PREPARE if prepared is None else Step.ACTIVATE
    if prepared is None:
        return Step.PREPARE if now >= _half_life(active) else None
    return Step.ACTIVATE if now >= _activation(active, prepared) else None


def next_change(slots: Slots, now: int) -> int:
    """Return when something will be due or expire. What is overdue is due at once, so this is `now` then."""
    active, prepared = in_state(slots, "active"), in_state(slots, "prepared")
    if active is None:
        return now
    moments = [slot.not_after for slot in slots if slot is not active]
    moments.append(_half_life(active) if prepared is None else _activation(active, prepared))
    return max(now, min(moments))


def prepare(slots: Slots, new: Slot) -> Slots:
    """Add a prepared authority, in place of one that is prepared already."""
    return (*(slot for slot in slots if slot.state != "prepared"), replace(new, state="prepared", tainted=False))


def activate(slots: Slots, authority_id: str | None = None) -> Slots:
    """Make the prepared authority the active one, and the active one old.

    Raises:
        AuthorityError: none is prepared, or it is another one.
    """
    prepared = in_state(slots, "prepared")
    if prepared is None:
        raise AuthorityError("no authority is prepared; prepare one first")
    if authority_id not in {None, prepared.authority_id}:
        raise AuthorityError(f"{authority_id} is not the prepared authority, which is {prepared.authority_id}")
    step: dict[State, State] = {"prepared": "active", "active": "old", "old": "old"}
    return tuple(replace(slot, state=step[slot.state]) for slot in slots)


def taint(slots: Slots, authority_id: str) -> Slots:
    """Mark an old authority: what it signed must be replaced now.

    Raises:
        AuthorityError: there is no such authority, it is not old, or it is tainted already.
    """
    target = _old(slots, authority_id, "tainted")
    if target.tainted:
        raise AuthorityError(f"{authority_id} is tainted already; revoke it when its holders have rotated")
    return tuple(replace(slot, tainted=True) if slot is target else slot for slot in slots)


def revoke(slots: Slots, authority_id: str) -> Slots:
    """Take a tainted authority out.

    Raises:
        AuthorityError: there is no such authority, it is not old, or it is not tainted.
    """
    target = _old(slots, authority_id, "revoked")
    if not target.tainted:
        raise AuthorityError(f"{authority_id} is not tainted; taint it first, so that its holders get new SVIDs")
    return tuple(slot for slot in slots if slot is not target)


def unexpired(slots: Slots, now: int) -> Slots:
    """Drop what has expired. The active authority stays until another takes its place."""
    return tuple(slot for slot in slots if slot.state == "active" or now < slot.not_after)


def _old(slots: Slots, authority_id: str, change: str) -> Slot:
    target = next((slot for slot in slots if slot.authority_id == authority_id), None)
    if target is None:
        raise AuthorityError(f"there is no authority {authority_id}; see them with: govctl authority x509|jwt show")
    if target.state != "old":
        raise AuthorityError(
            f"{authority_id} is {target.state}, and only an old authority is {change}; activate another one first"
        )
    return target


def _half_life(slot: Slot) -> int:
    return slot.not_before + (slot.not_after - slot.not_before) // 2


def _activation(active: Slot, prepared: Slot) -> int:
    life = active.not_after - active.not_before
    published = prepared.prepared_at + min(PUBLISHED_AHEAD, life // 12)
    return min(active.not_after, max(active.not_before + life * 5 // 6, published))
