"""The tables of AI systems, and of the classes of data they process."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.authorization.policy_data_base import Amount, Entry, Region, Text


class Oversight(BaseModel):
    """Who oversees a system."""

    model_config = ConfigDict(extra="allow", frozen=True)
    overseers: list[Text] = []


class RegisteredSystem(BaseModel):
    """An AI system of the register. Keys beyond these are attributes for rules and reports."""

    model_config = ConfigDict(extra="allow", frozen=True)
    risk: Literal["minimal", "limited", "high", "prohibited"]
    data_classes: list[Text] = []
    regions: list[Region] | None = Field(None, min_length=1)
    oversight: Oversight = Oversight()
    max_output_tokens: Amount | None = None


class DataClass(Entry):
    """A class of data, and the regions it is bound to."""

    regions: list[Region] | None = Field(None, min_length=1)


class Regions(Entry):
    """The table of data classes."""

    data_classes: dict[str, DataClass] = Field({})
