"""What every section of the configuration is made of."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_SEALED = re.compile(r"sealed://[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def _reference(value: str) -> str:
    if value.startswith("sealed:") and not _SEALED.fullmatch(value):
        raise ValueError("a secret of the sealed file is referred to as sealed://NAME")
    if value and not value.startswith(("file:", "env:", "sealed:")):
        raise ValueError(
            "a secret is given by reference, never in the file itself: use file:/path/to/file, env:NAME, ${NAME} or "
            "sealed://NAME"
        )
    return value


SecretReference = Annotated[str, AfterValidator(_reference)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:-]{0,199}$")]


class Section(BaseModel):
    """A section of the configuration: unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)
