"""The life cycle as a pure state machine: the rules of its docstring, one by one and under any sequence of steps."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.authority.lifecycle import (
    PUBLISHED_AHEAD,
    Slot,
    Step,
    activate,
    check,
    due,
    in_state,
    next_change,
    prepare,
    revoke,
    taint,
    unexpired,
)
from identity.errors import AuthorityError

START, LIFE = 1_800_000_000, 864_000
HALF, FIVE_SIXTHS, END = START + LIFE // 2, START + LIFE * 5 // 6, START + LIFE


def slot(name, state="active", start=START, life=LIFE, **changes):
    made = Slot(name, state, start, start + life, start, f"key-{name}", "ec-p256", "material")
    return replace(made, **changes)


ACTIVE = (slot("a"),)


def states(slots):
    return {each.authority_id: each.state for each in slots}


def test_an_authority_is_prepared_at_half_life_and_not_a_second_before():
    assert due(ACTIVE, HALF - 1) is None
    assert due(ACTIVE, HALF) is Step.PREPARE
    assert next_change(ACTIVE, START) == HALF


def test_the_prepared_one_is_activated_at_five_sixths_and_not_a_second_before():
    both = prepare(ACTIVE, slot("b", start=HALF))
    assert due(both, FIVE_SIXTHS - 1) is None
    assert due(both, FIVE_SIXTHS) is Step.ACTIVATE
    assert next_change(both, HALF) == FIVE_SIXTHS
    assert states(activate(both)) == {"a": "old", "b": "active"}


def test_one_prepared_late_is_published_for_a_while_before_it_is_used():
    late = FIVE_SIXTHS + 100
    both = prepare(ACTIVE, slot("b", start=late))
    assert due(both, late) is None
    assert due(both, late + PUBLISHED_AHEAD - 1) is None
    assert due(both, late + PUBLISHED_AHEAD) is Step.ACTIVATE


def test_an_active_one_that_expires_is_followed_at_once():
    both = prepare(ACTIVE, slot("b", start=END - 5))
    assert due(both, END - 1) is None
    assert due(both, END) is Step.ACTIVATE
    assert due(ACTIVE, END) is Step.PREPARE
    assert due((), START) is Step.PREPARE
    assert due((slot("b", "prepared"),), START) is Step.ACTIVATE


def test_another_preparation_takes_the_place_of_the_first():
    assert states(prepare(prepare(ACTIVE, slot("b")), slot("c"))) == {"a": "active", "c": "prepared"}


def test_what_is_prepared_is_named_or_nothing_is_activated():
    with pytest.raises(AuthorityError, match="prepare one first"):
        activate(ACTIVE)
    with pytest.raises(AuthorityError, match="which is b"):
        activate(prepare(ACTIVE, slot("b")), "a")
    assert states(activate(prepare(ACTIVE, slot("b")), "b"))["b"] == "active"


@pytest.mark.parametrize(("name", "message"), [("a", "is active"), ("p", "is prepared"), ("x", "no authority x")])
@pytest.mark.parametrize("change", [taint, revoke])
def test_only_an_old_one_is_tainted_or_revoked(change, name, message):
    slots = (slot("o", "old"), slot("a"), slot("p", "prepared"))
    with pytest.raises(AuthorityError, match=message):
        change(slots, name)


def test_only_a_tainted_one_is_revoked_and_none_is_tainted_twice():
    slots = (slot("o", "old"), slot("a"))
    with pytest.raises(AuthorityError, match="taint it first"):
        revoke(slots, "o")
    tainted = taint(slots, "o")
    assert [each.authority_id for each in tainted if each.tainted] == ["o"]
    with pytest.raises(AuthorityError, match="tainted already"):
        taint(tainted, "o")
    assert states(revoke(tainted, "o")) == {"a": "active"}


def test_the_expired_are_dropped_but_for_the_active_one():
    slots = (slot("o", "old"), slot("a"), slot("p", "prepared"))
    assert unexpired(slots, END - 1) == slots
    assert states(unexpired(slots, END)) == {"a": "active"}


@pytest.mark.parametrize(
    "slots",
    [
        (slot("a"), slot("b")),
        (slot("a", "prepared"), slot("b", "prepared")),
        (slot("a", "old"), slot("a")),
        (slot("a", tainted=True),),
        (slot("a", "prepared", tainted=True),),
    ],
)
def test_states_that_contradict_each_other_are_refused(slots):
    with pytest.raises(AuthorityError, match="contradict"):
        check(slots)


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["wait", "prepare", "activate", "taint", "revoke"]),
        st.integers(0, 8),
        st.integers(0, LIFE),
    ),
    max_size=30,
)


@given(operations=OPERATIONS)
def test_under_any_sequence_of_steps_the_rules_hold(operations):
    now, made, slots = START, 0, ACTIVE
    published_at = {"a": START}
    for operation, which, seconds in operations:
        before = slots
        target = slots[which % len(slots)].authority_id
        try:
            if operation == "wait":
                now += seconds
                slots = unexpired(slots, now)
            elif operation == "prepare":
                made += 1
                published_at[f"n{made}"] = now
                slots = prepare(slots, slot(f"n{made}", start=now))
            elif operation == "activate":
                slots = activate(slots, target)
            else:
                slots = {"taint": taint, "revoke": revoke}[operation](slots, target)
        except AuthorityError:
            assert slots is before
        check(slots)
        active = in_state(slots, "active")
        assert active is not None
        assert not active.tainted
        for gone in set(states(before)) - set(states(slots)):
            left = next(each for each in before if each.authority_id == gone)
            assert left.not_after <= now or left.tainted or left.state == "prepared"
        assert next_change(slots, now) >= now
        assert (due(slots, now) is None) or next_change(slots, now) == now


@given(hops=st.lists(st.integers(1, LIFE // 3), max_size=60))
def test_who_does_what_is_due_always_has_an_authority_in_date_that_was_published_ahead(hops):
    now, made, slots = START, 0, ACTIVE
    for hop in hops:
        now += hop
        slots = unexpired(slots, now)
        while (step := due(slots, now)) is not None:
            if step is Step.PREPARE:
                made += 1
                slots = prepare(slots, slot(f"n{made}", start=now))
            else:
                overdue = in_state(slots, "active").not_after <= now
                slots = activate(slots)
                assert overdue or now >= in_state(slots, "active").prepared_at + PUBLISHED_AHEAD
        assert in_state(slots, "active").not_after > now
