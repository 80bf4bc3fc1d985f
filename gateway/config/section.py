"""What every section of the configuration is made of."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _reference(value: str) -> str:
    if value and not value.startswith(("file:", "env:")):
        raise ValueError(
            "a secret is given by reference, never in the file itself: use file:/path/to/file, env:NAME or ${NAME}"
        )
    return value


SecretReference = Annotated[str, AfterValidator(_reference)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:-]{0,199}$")]


class Section(BaseModel):
    """A section of the configuration: unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)
