"""Asks the control plane of a running gateway as a person: over mutual TLS, with the person's own identity."""

import asyncio
import ssl
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import orjson
import typer
from cryptography import x509

from gateway.app import GATEWAY_PATH
from gateway.cli.acting import now
from gateway.cli.output import fail
from gateway.config import load_config
from identity.bundle import load_bundle
from identity.errors import IdentityError
from identity.federation_fetching import spiffe_tls
from identity.fetching import fetch_answer
from identity.spiffe_id import SpiffeId

IdentityOption = Annotated[
    Path | None,
    typer.Option(
        "--identity",
        envvar="GOVGATEWAY_IDENTITY",
        help="Directory with your svid.pem, svid.key and bundle.pem, as 'govctl agent issue' writes them.",
    ),
]
GatewayOption = Annotated[
    str, typer.Option("--gateway", help="The control plane, https://host:8444; default: that of the configuration.")
]

_STATUSES = frozenset(range(200, 300)) | frozenset(range(400, 600))


class ControlPlane:
    """The control plane of one gateway, as one person.

    Args:
        identity: directory with the person's SVID, key and the trust bundle.
        gateway: its address; empty: that of the configuration.
        config: configuration file, for the address.
    """

    def __init__(self, identity: Path | None, gateway: str, config: Path) -> None:
        if identity is None:
            fail(
                "say who you are with --identity, the directory of your X.509-SVID: a decision is a person's, "
                "proven by its certificate."
            )
        self._directory = identity
        self._gateway_id = ""
        if not gateway:
            loaded = load_config(config)
            if not loaded.admin.enabled:
                fail("the configuration has no control plane (admin.enabled); decisions need it.")
            gateway = f"https://{loaded.admin.address}:{loaded.admin.port}"
            if loaded.identity.source == "spire":
                self._gateway_id = loaded.identity.spire.spiffe_id
        self._gateway = gateway.rstrip("/")

    def get(self, *path: str, query: str = "") -> Any:
        """Return the answer to a question. Raises as `post`."""
        return self._ask("GET", path, None, query)

    def post(self, *path: str, body: dict[str, Any]) -> Any:
        """Return the answer to a request; leaves with the refusal's words where there is one.

        Raises:
            IdentityError: the gateway cannot be asked, or is not the one that the identity is of.
        """
        return self._ask("POST", path, orjson.dumps(body), "")

    def _ask(self, method: str, path: tuple[str, ...], content: bytes | None, query: str) -> Any:
        url = "/".join([self._gateway, "v1", *(quote(part, safe="") for part in path)]) + query
        tls, inspect = self._tls()
        headers = {"content-type": "application/json"} if content is not None else {}
        answer = asyncio.run(
            fetch_answer(
                url, tls, method=method, headers=headers, content=content, statuses=_STATUSES, inspect=inspect,
                query=True, timeout_seconds=60,
            )
        )  # fmt: skip
        document = orjson.loads(answer.body)
        if answer.status >= 400:
            fail(f"{document.get('detail', answer.status)} {document.get('remedy', '')}".strip())
        return document

    def _tls(self) -> tuple[ssl.SSLContext, Any]:
        chain, key = self._directory / "svid.pem", self._directory / "svid.key"
        try:
            own = _spiffe_id(chain.read_bytes())
            bundle = load_bundle(own.trust_domain.name, self._directory / "bundle.pem")
            server = SpiffeId.parse(self._gateway_id or f"spiffe://{own.trust_domain.name}{GATEWAY_PATH}")
            context, inspect = spiffe_tls(server, {own.trust_domain.name: bundle}, now())
            context.load_cert_chain(chain, key)
        except (OSError, ValueError, ssl.SSLError) as error:
            fail(f"the identity in {self._directory} cannot be used: {error}.")
        return context, inspect


def _spiffe_id(pem: bytes) -> SpiffeId:
    names = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    uris = names.value.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise IdentityError("svid.pem is no X.509-SVID: it has no single URI name")
    return SpiffeId.parse(uris[0])
