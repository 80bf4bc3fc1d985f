"""How the gateway proves to Vault who it is; gives a token and how long it is good."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import hvac

from gateway.config.vault import VaultLogin
from gateway.errors import UnavailableError
from gateway.secrets.fetched import SecretSourceError
from gateway.secrets.store import Secret

MAX_TOKEN_BYTES = 65_536
"""Largest token of a pod (bytes)."""


class Proof(Protocol):
    """What a login shows."""

    def jwt_svid(self, audience: str) -> str:
        """Return a JWT-SVID of the gateway.

        Raises:
            SecretSourceError: this process has none.
        """
        ...

    def x509_svid(self) -> tuple[bytes, bytes]:
        """Return chain and key of the gateway's X.509-SVID (PEM). Raises as `jwt_svid`."""
        ...

    def read(self, reference: str) -> Secret:
        """Return what a reference of this machine names (`file:`, `env:`, `sealed://`).

        Raises:
            UnavailableError: nothing.
        """
        ...


@dataclass(slots=True)
class Token:
    """What Vault gave for a login.

    Attributes:
        value: the token.
        seconds: how long it was good when it was given or last renewed; None: without end.
        taken: when that was (monotonic seconds).
        renewable: whether it can be prolonged.
        number: counts logins; leases live no longer than the token of the login they came from.
    """

    value: Secret
    seconds: float | None
    taken: float
    renewable: bool
    number: int


def show_proof(client: hvac.Client, login: VaultLogin, proof: Proof) -> Mapping[str, Any]:
    """Log in by the configured method; return the `auth` part of the answer.

    The certificate of the method `cert` was shown in the TLS handshake already.

    Raises:
        hvac.exceptions.VaultError, requests.RequestException: Vault refuses, or is away.
        SecretSourceError: there is nothing to show.
    """
    match login.method:
        case "jwt":
            jwt = proof.jwt_svid(login.audience)
            answer = client.auth.jwt.jwt_login(login.role, jwt, use_token=False, path=login.path)
        case "cert":
            answer = client.write_data(f"auth/{login.path}/login", data={"name": login.role} if login.role else {})
        case "approle":
            answer = client.auth.approle.login(
                _text(proof, login.role_id), _text(proof, login.secret_id), use_token=False, mount_point=login.path
            )
        case "kubernetes":
            answer = client.auth.kubernetes.login(
                login.role, _pod_token(login.token_file), use_token=False, mount_point=login.path
            )
        case "token":
            client.token = _text(proof, login.token)
            data = _part(client.auth.token.lookup_self(), "data")
            return {"client_token": client.token, "lease_duration": data.get("ttl"), "renewable": data.get("renewable")}
    return _part(answer, "auth")


def _part(answer: Any, name: str) -> Mapping[str, Any]:
    part = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(part, dict):
        raise SecretSourceError("Vault answered a login with something else", "secret_unavailable")
    return part


def _pod_token(path: Path) -> str:
    """Read the pod's token; Kubernetes gives the file its mode, and replaces it before the token's end."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_TOKEN_BYTES).decode("ascii").strip()
    except OSError as error:
        cause = f"the pod's token {path} cannot be read: {error.strerror}"
        raise SecretSourceError(cause, "secret_unavailable", "Correct secrets.vault.login.token_file.") from error
    except UnicodeDecodeError:
        raise SecretSourceError(f"{path} is no token: it is no ASCII", "secret_unusable") from None


def _text(proof: Proof, reference: str) -> str:
    try:
        return proof.read(reference).reveal().decode("ascii")
    except UnavailableError as error:
        raise SecretSourceError(f"what the login shows cannot be had: {error.detail}", "secret_unavailable") from error
    except UnicodeDecodeError:
        raise SecretSourceError(f"{reference} is not what Vault takes: it is no ASCII", "secret_unusable") from None
