"""The secrets section of the configuration: where credentials are kept that other sections refer to."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from gateway.config.section import SecretReference, Section
from gateway.config.vault import Exchange, Vault


class SealedFileSettings(Section):
    """One encrypted file of secrets, referred to as sealed://NAME. Its key is kept apart from it."""

    path: Path | None = Field(None, description="The file; made by govctl secret set.")
    key: SecretReference = Field("", description="Reference of its key: base64 of 32 bytes.")
    passphrase: SecretReference = Field(
        "", description="Reference of a passphrase instead, of at least 12 bytes; a key is made of it by scrypt."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.path is not None and bool(self.key) == bool(self.passphrase):
            raise ValueError("path needs key or passphrase, one of them")
        if self.path is None and (self.key or self.passphrase):
            raise ValueError("key and passphrase need a path")
        for reference in (self.key, self.passphrase):
            if reference.startswith("sealed:"):
                raise ValueError("the key of the sealed file cannot be in it: use file: or env:")
        return self


class Secrets(Section):
    """Stores of secrets."""

    sealed_file: SealedFileSettings = SealedFileSettings()
    vault: Vault = Vault()
    exchanges: list[Exchange] = Field([], description="Exchanges of the gateway's JWT-SVID for credentials.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [each.name for each in self.exchanges]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"exchange {', '.join(twice)} is defined twice")
        return self
