"""Thresholds: what they may say, and when they are crossed."""

import pytest

from gateway.errors import ConfigError
from gateway.policyreview.thresholds import FIGURES, Threshold, crossed, parse_threshold

NOTHING = {name.replace("-", "_"): 0 for name in FIGURES}


@pytest.mark.parametrize("figure", FIGURES)
def test_every_figure_is_crossed_by_the_first_one(figure: str) -> None:
    threshold = parse_threshold(figure)
    assert threshold == Threshold(figure, 0)
    assert crossed([threshold], NOTHING) == []
    (over,) = crossed([threshold], {**NOTHING, figure.replace("-", "_"): 1})
    assert (over.threshold, over.found) == (threshold, 1)


def test_as_many_as_are_tolerated_pass() -> None:
    threshold = parse_threshold("deny-to-allow=10")
    assert crossed([threshold], {**NOTHING, "deny_to_allow": 10}) == []
    assert str(crossed([threshold], {**NOTHING, "deny_to_allow": 11})[0]).startswith("deny-to-allow: 11 ")


@pytest.mark.parametrize(
    "text", ["", "allow_to_deny", "deny", "deny-to-allow=", "deny-to-allow=-1", "deny-to-allow=1.5", "deny-to-allow=١"]
)
def test_what_is_no_threshold_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_threshold(text)
