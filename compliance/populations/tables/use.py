"""What the systems are used with, held against the register."""

from compliance.populations.base import Population
from compliance.populations.tables.columns import flag, number, text

USE = (
    Population(
        "overseers",
        "Overseers",
        "Every overseer that the register names, on every day of the period.",
        (
            text("person", "Who.", personal=True),
            text("training_reference", "The training on record; empty for none."),
            text("valid_until", "Until when it holds."),
            flag("training_valid", "A training on record held on that day."),
        ),
        frozenset(),
        per_system=True,
    ),
    Population(
        "models",
        "Models in use",
        "Every model that allowed calls went to.",
        (
            text("model", "Its name."),
            text("upstream_model", "Its name at the backend."),
            number("calls", "Allowed calls."),
            flag("listed", "The register lists it for the system."),
            flag("documented", "The register has a reference of its documentation (Annex XII)."),
        ),
        frozenset(),
        per_system=True,
    ),
    Population(
        "recipients",
        "Recipients",
        "Every backend that calls went to.",
        (
            text("backend", "Its name."),
            text("region", "Its region."),
            number("calls", "Calls that it answered."),
            flag("declared", "The register names it for the system; or names none, and the configuration does."),
            flag("region_declared", "Its region or country is known."),
        ),
        frozenset(),
        per_system=True,
    ),
    Population(
        "frequency",
        "Frequency of use",
        "Every system whose expected frequency the register names.",
        (
            number("calls", "Allowed calls in the period."),
            number("expected", "Calls that were to be expected."),
            flag("within_a_fifth", "The two differ by at most a fifth of what was expected."),
        ),
        frozenset(),
        per_system=True,
    ),
)
