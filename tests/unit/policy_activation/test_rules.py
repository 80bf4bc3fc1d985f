"""What a revision must bring: nobody approves their own change, and nothing is older than what is active."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authorization.manifest import Change
from gateway.config.policy import Requirements
from gateway.errors import ConfigError
from gateway.policy_activation.rules import check_order, check_requirements

GOOD = Change(
    serial=7, commit="abc", commit_signed=True, author="ada", approvers=("grace", "alan"), checks=("test", "impact")
)
ALL = Requirements(approvers=2, signed_commit=True, checks=["test", "impact"], serial=True)


def test_what_brings_everything_may():
    check_requirements(GOOD, ALL)
    check_requirements(Change(), Requirements())


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ({"approvers": ("grace",)}, "2 approvers other than the author"),
        ({"approvers": ("grace", "ada")}, "it has 1"),
        ({"approvers": ("grace", " ADA ")}, "it has 1"),
        ({"approvers": ("grace", "Grace")}, "it has 1"),
        ({"approvers": ("", " ")}, "it has 0"),
        ({"author": ""}, "author"),
        ({"author": "\u200b"}, "author"),
        ({"commit_signed": False}, "signature was verified"),
        ({"commit": ""}, "signature was verified"),
        ({"checks": ("test",)}, "the passed check impact"),
        ({"checks": ()}, "the passed checks impact, test"),
        ({"serial": 0}, "a serial number"),
    ],
)
def test_what_is_missing_is_named(change, missing):
    with pytest.raises(ConfigError, match=missing):
        check_requirements(GOOD.model_copy(update=change), ALL)


def test_everything_that_is_missing_is_named_at_once():
    with pytest.raises(ConfigError) as caught:
        check_requirements(Change(), ALL)
    for part in ("approvers", "commit", "checks", "serial"):
        assert part in str(caught.value)


@given(
    st.builds(Change, author=st.sampled_from(["", "ada", "Ada"]), approvers=st.lists(st.sampled_from(["ada", "ADA "]))),
    st.integers(1, 5),
)
def test_an_author_alone_never_suffices(change, approvers):
    with pytest.raises(ConfigError):
        check_requirements(change, Requirements(approvers=approvers))


@given(st.integers(0, 5), st.integers(0, 5), st.booleans())
def test_older_is_only_a_way_back(serial, active, rollback):
    change, before = Change(serial=serial), Change(serial=active)
    if rollback or serial >= active:
        check_order(change, before, rollback=rollback)
    else:
        with pytest.raises(ConfigError, match="older"):
            check_order(change, before, rollback=rollback)
    check_order(change, None, rollback=False)
