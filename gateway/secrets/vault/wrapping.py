"""Wraps the data keys of sealed content in Vault's Transit engine: without Vault nothing that is sealed opens."""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from audit.sealing import SealBrokenError, SealingUnavailableError
from gateway.secrets.fetched import SecretSourceError
from gateway.secrets.vault.transit import Engine

_FORM = b"\x02"
"""Begins what this wrapper wraps; the embedded one's begins otherwise."""


class TransitWrapper:
    """Wraps with AES-256-GCM in Vault, the context authenticated beside the key (`audit.sealing.KeyWrapper`).

    Args:
        engine: the client.
        mount: where Transit is.
        name: of the wrapping key there; it is made if it is not.

    Attributes:
        name: names the wrapping key, as kept beside each wrapped key.
    """

    def __init__(self, engine: Engine, mount: str, name: str) -> None:
        self._engine = engine
        self._mount = mount
        self._key = name
        self.name = f"vault:{mount}/{name}"

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """See `KeyWrapper.wrap`."""
        asked = {"plaintext": b64encode(key).decode(), "associated_data": b64encode(context).decode()}
        answer = self._asked(f"{self._mount}/encrypt/{self._key}", {**asked, "type": "aes256-gcm96"})
        ciphertext = answer.get("ciphertext")
        if not isinstance(ciphertext, str):
            raise SealingUnavailableError(f"Vault answered {self._mount}/encrypt/{self._key} with something else")
        return _FORM + ciphertext.encode()

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """See `KeyWrapper.unwrap`."""
        return self.unwrap_all([(wrapped, context)])[0]

    def unwrap_all(self, wrapped: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
        """See `KeyWrapper.unwrap_all`: one round trip for all."""
        if not all(each.startswith(_FORM) for each, _ in wrapped):
            raise SealBrokenError("a wrapped key is damaged, or was wrapped by a key that is not in Vault")
        batch = [
            {"ciphertext": each[1:].decode("ascii", "replace"), "associated_data": b64encode(context).decode()}
            for each, context in wrapped
        ]
        answer = self._asked(f"{self._mount}/decrypt/{self._key}", {"batch_input": batch})
        results = answer.get("batch_results")
        if not isinstance(results, list) or len(results) != len(batch):
            raise SealingUnavailableError(f"Vault answered {self._mount}/decrypt/{self._key} with something else")
        return [_opened(each) for each in results]

    def _asked(self, path: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return self._engine.write(path, data)
        except SecretSourceError as error:
            if path.startswith(f"{self._mount}/decrypt/") and error.code == "secret_denied" and error.refused_input:
                raise SealBrokenError(f"a wrapped key does not open in Vault: {error}") from error
            raise SealingUnavailableError(f"{error}. {error.remedy}".strip()) from error


def _opened(result: Any) -> bytes:
    plaintext = result.get("plaintext") if isinstance(result, dict) else None
    if not isinstance(plaintext, str) or not plaintext:
        raise SealBrokenError(
            "a wrapped key does not open: the wrapping key is another one, or the content store was changed"
        )
    return b64decode(plaintext)
