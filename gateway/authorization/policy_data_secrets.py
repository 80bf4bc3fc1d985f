"""The table of credentials that not everybody may use who may call the model."""

from pydantic import Field

from gateway.authorization.policy_data_base import Entry, Name, Text


class RestrictedSecret(Entry):
    """Credentials, and who may use them for what. Without principals and roles it fits nobody."""

    secrets: list[Text] = Field(min_length=1, description="References as in the configuration, with * for any text.")
    principals: list[Text] = Field([], description="SPIFFE IDs, with * for any text.")
    roles: list[Name] = Field([], description="One of them is enough.")
    backends: list[Text] | None = Field(None, min_length=1, description="Backends; left out: any.")
    actions: list[Text] | None = Field(None, min_length=1, description="Purposes, as actions; left out: any.")
    why: str = ""


class Secrets(Entry):
    """The table of secrets."""

    restricted: list[RestrictedSecret] = Field([])
