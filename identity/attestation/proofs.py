"""What a node shows to prove itself, method by method: the other side of the attestors."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from identity.attestation import x509pop
from identity.errors import IdentityError
from identity.fetching import fetch, tls_context
from identity.strict_json import parse_object

MAX_FILE_BYTES = 65_536


class ProofError(IdentityError):
    """A node has not got what it means to show."""


class Proof(Protocol):
    """One way to prove what this node is.

    Attributes:
        method: as in `POST /v1/attest/<method>`.
        repeatable: whether it can be shown again later, so that the node gets its next SVID by attesting anew.
    """

    @property
    def method(self) -> str: ...

    @property
    def repeatable(self) -> bool: ...

    async def payload(self) -> dict[str, Any]:
        """Return what is shown first.

        Raises:
            IdentityError: it cannot be had.
        """
        ...

    async def answer(self, challenge: Mapping[str, Any], binding: str) -> dict[str, Any]:
        """Return the answer to a challenge.

        Args:
            challenge: as the gateway sent it.
            binding: SHA-256 (hex) of the certificate request (DER) that the proof is for.

        Raises:
            IdentityError: it is not a challenge of this method.
        """
        ...


class _OneStep:
    """A proof that is complete at once."""

    method: str

    async def answer(self, challenge: Mapping[str, Any], binding: str) -> dict[str, Any]:  # noqa: ARG002 - the seam
        raise ProofError(f"the gateway asks back, which {self.method} does not know; nothing is answered")


@dataclass(frozen=True, slots=True)
class JoinToken(_OneStep):
    """A token of `govctl token create`, good once."""

    token: str
    method = "join_token"
    repeatable = False

    def __repr__(self) -> str:
        return "JoinToken(<secret>)"

    async def payload(self) -> dict[str, Any]:
        return {"token": self.token}


@dataclass(frozen=True, slots=True)
class X509Pop:
    """A certificate of another authority, and its key.

    Attributes:
        chain_file: PEM, leaf first.
        key_file: PEM, without a password.
        trust_domain: that the node means to join; part of what it signs.
    """

    chain_file: Path
    key_file: Path
    trust_domain: str
    method = "x509pop"
    repeatable = True

    async def payload(self) -> dict[str, Any]:
        self._key()  # what cannot be answered is not begun
        return {"chain": _read(self.chain_file, "the certificate")}

    async def answer(self, challenge: Mapping[str, Any], binding: str) -> dict[str, Any]:
        return x509pop.answer(self._key(), challenge, self.trust_domain, binding)

    def _key(self) -> x509pop.PrivateKey:
        text = _read(self.key_file, "the key")
        try:
            key = load_pem_private_key(text.encode(), None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ProofError(f"{self.key_file} is not a PEM file of a private key without a password") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
            raise ProofError(f"{self.key_file} holds a key that does not sign; use one of ECDSA, RSA or Ed25519")
        return key


@dataclass(frozen=True, slots=True)
class K8sPsat(_OneStep):
    """The projected service-account token of this pod, read anew each time: Kubernetes renews it."""

    cluster: str
    token_file: Path
    method = "k8s_psat"
    repeatable = True

    async def payload(self) -> dict[str, Any]:
        return {"cluster": self.cluster, "token": _read(self.token_file, "the service-account token")}


@dataclass(frozen=True, slots=True)
class OidcFile(_OneStep):
    """An ID token that something else keeps in a file."""

    token_file: Path
    method = "oidc"
    repeatable = True

    async def payload(self) -> dict[str, Any]:
        return {"token": _read(self.token_file, "the ID token")}


@dataclass(frozen=True, slots=True)
class OidcGitHubActions(_OneStep):
    """The ID token of a job of GitHub Actions, a new one each time.

    Attributes:
        request_url, request_token: of the environment, `ACTIONS_ID_TOKEN_REQUEST_URL` and `…_TOKEN`.
        audience: that the gateway takes tokens for.
    """

    request_url: str
    request_token: str
    audience: str
    method = "oidc"
    repeatable = True

    def __repr__(self) -> str:
        return f"OidcGitHubActions({self.request_url!r}, <secret>, {self.audience!r})"

    async def payload(self) -> dict[str, Any]:
        joint = "&" if "?" in self.request_url else "?"
        answer = await fetch(
            f"{self.request_url}{joint}{urlencode({'audience': self.audience})}",
            await asyncio.to_thread(tls_context, None),
            headers={"authorization": f"Bearer {self.request_token}"},
            query=True,
        )
        try:
            token = parse_object(answer).get("value")
        except ValueError as error:
            raise ProofError("the runner of GitHub Actions did not answer with JSON") from error
        if not isinstance(token, str) or not token:
            raise ProofError("the runner gave no ID token; the job needs the permission 'id-token: write'")
        return {"token": token}


def read_token(data: str, where: str) -> str:
    """Return a token without the space around it.

    Raises:
        ProofError: there is none.
    """
    token = data.strip()
    if not token:
        raise ProofError(f"{where} holds no token")
    return token


def _read(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ProofError(f"{path}: {what} has more than {MAX_FILE_BYTES} bytes")
        return read_token(data.decode("ascii"), f"{path}: {what}")
    except OSError as error:
        raise ProofError(f"{what} {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ProofError(f"{path}: {what} is not text") from error
