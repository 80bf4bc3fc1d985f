"""What records become on their way out: pure functions of a record."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """Where records come from.

    Attributes:
        version: version of the product.
        host: name of the machine.
    """

    version: str
    host: str
