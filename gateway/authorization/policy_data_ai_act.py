"""The table of what Regulation (EU) 2024/1689 (AI Act) is to the policies: practices, areas and rules."""

from typing import Literal

from pydantic import Field

from gateway.authorization.policy_data_base import Day, Entry, Name, Said

ActRuleName = Literal["oversight_missing", "instructions_missing", "fria_missing"]


class Practice(Entry):
    """A prohibited practice of Article 5, in words of our own."""

    article: Said
    description: Said
    applies_from: Day
    source: Said


class Area(Entry):
    """An area of Annex III."""

    point: Said
    description: Said
    fria: Literal["public", "always", "never"] = Field(
        description="Which deployers assess the impact on fundamental rights (Article 27)."
    )


class ActDates(Entry):
    """From when articles apply to systems of an annex."""

    annex_iii: Day | None = None
    annex_i: Day | None = None


class ActRule(Entry):
    """A rule on high-risk systems: the articles it follows, and whether the company enforces it."""

    articles: list[Said] = Field(min_length=1)
    applies_from: ActDates
    source: Said
    enforce: bool = Field(strict=True, description="The company's choice, whatever the date.")


class AiAct(Entry):
    """The table `ai_act`. `rules` are named by the reason code of their refusal."""

    practices: dict[Name, Practice] = Field({})
    annex_iii: dict[Name, Area] = Field({})
    rules: dict[ActRuleName, ActRule] = Field({})
