"""Opens the secret stores that a configuration names."""

from gateway.config.model import GatewayConfig
from gateway.secrets.reference_store import SEALED, ReferenceStore
from gateway.secrets.references import references_of
from gateway.secrets.sealed_file import SealedFile, SealedFileError
from gateway.secrets.store import Secret

MARK = "sealed-secrets.generation"
"""File of the state directory with the highest generation of the sealed file that was seen."""


def open_sealed_file(config: GatewayConfig) -> SealedFile | None:
    """Return the sealed file; None if there is none configured. It is read when a secret is."""
    settings = config.secrets.sealed_file
    if settings.path is None:
        return None
    outside = ReferenceStore()
    reference = settings.passphrase or settings.key

    def key() -> Secret:
        return outside.read(reference)

    mark = config.state_dir / MARK
    return SealedFile(settings.path, key, passphrase=bool(settings.passphrase), mark=mark)


def secret_store(config: GatewayConfig) -> ReferenceStore:
    """Return what resolves the references of a configuration."""
    return ReferenceStore(open_sealed_file(config))


def check_sealed(config: GatewayConfig) -> None:
    """Open the sealed file, if there is one, and look for everything of it that the configuration refers to.

    Raises:
        SealedFileError: it cannot be used, or lacks something.
    """
    wanted = {key: value for key, value in references_of(config).items() if value.startswith(SEALED)}
    sealed = open_sealed_file(config)
    if sealed is None:
        if wanted:
            raise SealedFileError(f"{min(wanted)} refers to the sealed file, and secrets.sealed_file.path is not set")
        return
    if wanted or sealed.path.exists():
        for key, reference in sorted(wanted.items()):
            try:
                sealed.get(reference.removeprefix(SEALED))
            except SealedFileError as error:
                raise SealedFileError(f"{key}: {error}") from error
        sealed.all()
