"""The sealing section of the configuration: content that an obligation asks to keep, and who may see it."""

from pydantic import Field

from gateway.config.section import Name, SecretReference, Section


class Sealing(Section):
    """Content that is stored because the policy asks for it (`log_content_sealed`), encrypted."""

    seal_key: SecretReference = Field(
        "",
        description="Reference of the 32-byte key (base64) that wraps the data keys and makes the pseudonyms; "
        "empty: nothing can be sealed, and a call that the policy wants sealed is refused. "
        "With another key what was sealed before cannot be opened or found.",
    )
    readers: list[str] = Field(
        [], description="Who may open sealed content, for instance operator:anna. Empty: nobody."
    )
    approvers: list[str] = Field([], description="Who may approve somebody else's request; empty: the readers.")
    two_people: bool = Field(False, description="Whether opening needs the approval of a second person.")
    request_seconds: int = Field(3600, ge=60, le=604_800, description="How long a request stands, seconds.")
    backups: list[Name] = Field(
        [], description="Names of known backups of the content store, listed in every record of an erasure."
    )
    max_memory_bytes: int = Field(
        268_435_456, ge=1_048_576, description="Most bytes of content that wait to be sealed in one worker."
    )
