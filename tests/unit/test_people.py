"""Names compared as persons, and texts that say nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.people import as_written, person, says_something


@pytest.mark.parametrize(
    "spelling",
    [
        "Alice",
        " alice",
        "alice\n",
        "ＡＬＩＣＥ",
        "al\u200bice",
        "ali\u00adce",
        "\ufeffalice",
        "alice\u3164",
        "a\u2060lice",
    ],
)
def test_another_spelling_is_the_same_person(spelling: str) -> None:
    assert person(spelling) == person("alice")


def test_other_names_are_other_persons() -> None:
    assert len({person(each) for each in ("alice", "alicia", "alice b", "aliceb", "álice")}) == 5


@pytest.mark.parametrize(
    "name", ["Grace Hopper", "grace@example.org", "spiffe://example.org/operator/Ada", "Zoë", "李雷"]
)
def test_ordinary_names_are_written_as_they_are(name: str) -> None:
    assert as_written(name) == name


@given(st.text())
def test_a_normal_form_is_its_own_normal_form(name: str) -> None:
    assert as_written(as_written(name)) == as_written(name)
    assert person(person(name)) == person(name)


@pytest.mark.parametrize(
    "text", ["", " \t", "\u00a0", "\u200b\u200d", "\u2060\ufeff", "\u3164", "\u2800\u2800", "\u115f\u1160", "\u00ad", "\ufe0f", "\u202e", "\x00"]
)  # fmt: skip
def test_text_of_which_nothing_is_seen_says_nothing(text: str) -> None:
    assert not says_something(text)


@pytest.mark.parametrize("text", ["why", "?", "7", "\u200bx", "é", "原因", "🔥"])
def test_text_that_is_seen_says_something(text: str) -> None:
    assert says_something(text)
