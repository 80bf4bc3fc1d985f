"""The form of a framework's file. Everything that can be said about a control is data, so that anybody can add one."""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._()-]{0,63}$")]
TableName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Said = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Scalar = str | int | bool
Ratio = Annotated[str, StringConstraints(pattern=r"^(0(\.[0-9]{1,9})?|1(\.0{1,9})?)$")]
"""A share from 0 to 1, as text: evidence holds no floats."""


class Part(BaseModel):
    """A part of a file. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Condition(Part):
    """What a column has to be. All that are given hold. A missing value meets only `absent: true`."""

    equals: Scalar | None = None
    differs: Scalar | None = None
    any_of: list[Scalar] | None = Field(None, min_length=1)
    none_of: list[Scalar] | None = Field(None, min_length=1)
    at_least: int | None = None
    at_most: int | None = None
    contains: Scalar | None = Field(None, description="A list has this member.")
    lacks: Scalar | None = Field(None, description="A list does not have this member.")
    empty: bool | None = Field(None, description="A text or list has nothing in it.")
    absent: bool | None = Field(None, description="There is no value.")
    column: TableName | None = Field(None, description="Equals another column of the same row.")


Rows = dict[TableName, Condition | Scalar]
"""Conditions by column; a bare value stands for `equals`."""


class ControlTest(Part):
    """A test that the log answers by itself.

    One of `good`, `highest`, `lowest`, `count` or `days` says what is measured.
    """

    id: Identifier
    says: Said = Field(description="What holds where the test passes, as a sentence.")
    population: TableName
    of: Rows = Field({}, description="Rows that the test is about; all, if empty.")
    good: Rows | None = Field(None, description="A row of those that is not so is an exception.")
    highest: TableName | None = Field(None, description="Column whose highest value is measured.")
    lowest: TableName | None = Field(None, description="Column whose lowest value is measured.")
    count: bool = Field(False, description="The number of rows is measured.")
    share_at_least: Ratio = Field("1", description="With good: the share of rows that passes.")
    partial_at_least: Ratio | None = Field(None, description="With good: from this share on, partial and no fail.")
    at_least: int | None = None
    at_most: int | None = None
    unit: str = Field("", description="Unit of the measure: seconds, days, rows …")
    when_empty: Literal["pass", "fail", "not-applicable"] = Field(
        "not-applicable",
        description="The result where the period is covered and has no such row; a number of rows is measured anyway.",
    )
    threshold_source: Said = Field("ours", description="Where the threshold comes from: the law, or ours and why.")


class Applies(Part):
    """When a control applies to a system. What is not given does not matter."""

    roles: list[
        Literal["provider", "deployer", "importer", "distributor", "product-manufacturer", "gpai-provider"]
    ] = []
    risk: list[Literal["minimal", "limited", "high", "prohibited"]] = []
    annex_iii: list[str] = Field([], description="Codes of areas of Annex III.")
    deployer: Literal["public", "private"] | None = None
    transparency: bool | None = None
    profiling: bool | None = None
    personal_data: bool | None = Field(None, description="The system processes personal data.")
    in_force: date | None = Field(None, description="From when it binds; before, a result is shown as preparation.")
    in_force_annex_i: date | None = Field(None, description="From when, for a system of Annex I.")
    in_force_source: Said | None = None


class Person(Part):
    """What a person has to supply, since no log can."""

    id: Identifier
    asks: Said
    valid_days: int | None = Field(None, ge=1, description="How long one statement holds; without, for the period.")
    register_key: str = Field("", description="Key of the register that answers it, where one does.")


class Control(Part):
    """A control."""

    id: Identifier
    title: Said
    paraphrase: Said = Field(description="What it asks, in our words.")
    source: Said = Field(description="Article, or criterion.")
    version: str = Field("", description="Version of the law or criterion; empty: the framework's.")
    applies: Applies = Applies()
    scope: Literal["system", "organisation"] = "system"
    populations: list[TableName] = Field([], description="Populations that belong to its evidence.")
    tests: list[ControlTest] = []
    person: list[Person] = []
    cannot_know: list[Said] = Field([], description="What the gateway cannot know about it.")
    crosswalk: dict[Identifier, list[str]] = Field({}, description="Identifiers in other frameworks.")
    not_testable: Said | None = Field(None, description="Why nothing of it can be tested at a gateway.")


class Framework(Part):
    """A framework: one file."""

    framework: Identifier
    title: Said
    version: Said
    source: Said
    checked: date = Field(description="When its texts and dates were last gone through; the note says against what.")
    note: str = ""
    controls: list[Control] = []
    references: dict[str, Said] = Field(
        {}, description="Of a framework that is only pointed to: identifiers and titles."
    )


def parse_framework(document: Any) -> Framework:
    """Return the framework that a parsed file says.

    Raises:
        pydantic.ValidationError: it is not of this form.
    """
    return Framework.model_validate(document)
