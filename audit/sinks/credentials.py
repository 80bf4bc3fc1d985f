"""Credentials on their way to a receiver: resolved at the moment of use, and in no message of an error."""

from collections.abc import Callable

from audit.sinks.errors import SinkUnavailableError

Credential = Callable[[], bytes]
"""Returns a credential's value. Called for each use, so that a rotation needs no restart."""


def resolved(reference: str, resolve: Callable[[str], bytes]) -> Credential:
    """Return the credential that a reference names."""

    def value() -> bytes:
        try:
            return resolve(reference).rstrip(b"\r\n")
        except Exception as error:
            raise SinkUnavailableError(f"the credential {reference} cannot be read: {error}") from error

    return value


def authorization(scheme: str, credential: Credential) -> str:
    """Return the value of an `Authorization` header.

    Raises:
        SinkUnavailableError: the credential cannot be read, or no header can carry it.
    """
    value = credential()
    if not value or any(byte <= 0x20 or byte >= 0x7F for byte in value):
        raise SinkUnavailableError(f"the {scheme} credential is empty or has characters that no header can carry")
    return f"{scheme} {value.decode('ascii')}"
