"""The retention section of the configuration: how long records are kept."""

from typing import Self

from pydantic import Field, model_validator

from audit.retention import DEFAULT_DAYS, RetentionError, RetentionRules, Rule
from gateway.config.section import Section


class RetentionRule(Section):
    """Keeps some records longer or shorter than the default."""

    days: int = Field(description="How long, days.")
    types: list[str] = Field([], description="Types of records, such as access.*; empty: all.")
    systems: list[str] = Field([], description="AI systems, likewise; empty: all.")


class Retention(Section):
    """How long records are kept before `govctl audit retention apply` may delete them."""

    default_days: int = Field(DEFAULT_DAYS, description="How long a record is kept that no rule names, days.")
    rules: list[RetentionRule] = Field([], description="Where several apply, the longest counts.")
    unsafe_shorter_than_law: bool = Field(
        False,
        description="Allow less than six months, which the EU AI Act asks for (Articles 19(1) and 26(6)). Recorded in "
        "the audit log.",
    )

    def compiled(self) -> RetentionRules:
        """Return the rules as they decide.

        Raises:
            RetentionError: one is shorter than the law allows, or no number of days.
        """
        rules = [Rule(rule.days, tuple(rule.types), tuple(rule.systems)) for rule in self.rules]
        return RetentionRules(rules, self.default_days, unsafe_shorter_than_law=self.unsafe_shorter_than_law)

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            self.compiled()
        except RetentionError as error:
            raise ValueError(str(error)) from error
        return self
