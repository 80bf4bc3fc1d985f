"""Envoy's secret discovery (SDS v3) for one connection's process, with SPIRE's names of resources.

`default` is the first X.509-SVID, a SPIFFE ID with a path is the SVID of that ID; `ROOTCA` is the own trust bundle,
`spiffe://domain` that of a domain, `ALL` all of them. No name means every SVID and every bundle by its SPIFFE ID.
Bundles are given to Envoy's SPIFFE validator, which verifies each peer against its own domain's bundle only. A domain
whose bundle the workload may not see, or no longer, is answered with a validator that trusts nobody: on an error Envoy
would go on trusting whom it trusted before.
"""

import asyncio
import ssl
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from grpclib import GRPCError, Status
from grpclib.const import Cardinality, Handler
from grpclib.server import Stream

from identity.bundle import TrustBundle
from identity.spiffe_id import SpiffeIdError, TrustDomain
from identity.workload_api import messages as m
from identity.workload_api.service import Caller, admit, confirm, statuses
from identity.workload_api.source import Selectors, WorkloadObserver, WorkloadSource, X509Context, X509Svid

DEFAULT, ROOTCA, ALL = "default", "ROOTCA", "ALL"
MAX_NAMES = 256
_VALIDATOR = "envoy.tls.cert_validator.spiffe"
_SERVICE = "/envoy.service.secret.v3.SecretDiscoveryService"


class SecretService:
    """Answers one connection."""

    def __init__(self, source: WorkloadSource, caller: Caller, observer: WorkloadObserver) -> None:
        self._source = source
        self._caller = caller
        self._observer = observer

    def __mapping__(self) -> Mapping[str, Handler]:
        """Return the methods by path, as grpclib asks for them. Delta streams are not served, as in SPIRE."""
        types = (m.DiscoveryRequest, m.DiscoveryResponse)
        return {
            f"{_SERVICE}/StreamSecrets": Handler(self._stream, Cardinality.STREAM_STREAM, *types),
            f"{_SERVICE}/FetchSecrets": Handler(self._fetch, Cardinality.UNARY_UNARY, *types),
        }

    async def _fetch(self, stream: "Stream[Any, Any]") -> None:
        selectors = await admit(self._source, self._caller, self._observer)
        request = await stream.recv_message()
        if request is None:
            raise GRPCError(Status.INVALID_ARGUMENT, "a request is missing")
        _check(request)
        resources = await self._secrets(selectors, request.resource_names)
        await stream.send_message(_response(resources, str(self._source.version(selectors)), ""))

    async def _stream(self, stream: "Stream[Any, Any]") -> None:
        selectors = await admit(self._source, self._caller, self._observer)
        requests: asyncio.Task[Any] = asyncio.create_task(stream.recv_message())
        changes: asyncio.Task[int] | None = None
        names: tuple[str, ...] | None = None
        sent: list[m.Message] | None = None
        nonce = 0
        try:
            while True:
                await asyncio.wait({requests, changes} if changes else {requests}, return_when=asyncio.FIRST_COMPLETED)
                due = False
                if requests.done():
                    request = requests.result()
                    if request is None:
                        return
                    requests = asyncio.create_task(stream.recv_message())
                    _check(request)
                    if request.response_nonce and request.response_nonce != str(nonce):
                        continue  # it answers what was replaced already
                    if request.HasField("error_detail"):
                        self._observer.refused("sds-rejected", f"Envoy refused: {request.error_detail.message[:500]}")
                    wanted = tuple(sorted(set(request.resource_names)))
                    due = wanted != names
                    names = wanted
                if changes is not None and changes.done():
                    changes, due = None, True
                    confirm(self._caller, self._observer)
                if due and names is not None:
                    if changes is not None:
                        changes.cancel()
                    version = self._source.version(selectors)
                    resources = await self._secrets(selectors, names)
                    changes = asyncio.create_task(self._source.changed(selectors, version))
                    if resources != sent:
                        nonce += 1
                        await stream.send_message(_response(resources, str(version), str(nonce)))
                        sent = resources
        finally:
            for task in (requests, changes):
                if task is not None:
                    task.cancel()
                    with suppress(asyncio.CancelledError, Exception):
                        await task

    async def _secrets(self, selectors: Selectors, names: Collection[str]) -> list[m.Message]:
        with statuses(self._observer):
            context = await self._source.x509_context(selectors)
        secrets = _by_name(context)
        for name in set(names) - set(secrets):
            if _names_a_domain(name):
                self._observer.refused("no-bundle", f"asked for the bundle of {name[:500]}")
                secrets[name] = _validation(name, {})
        missing = sorted(set(names) - set(secrets) - {ROOTCA, ALL, DEFAULT})
        if missing:
            self._observer.refused("no-identity", f"asked for {', '.join(missing)[:500]}")
            raise GRPCError(
                Status.INVALID_ARGUMENT, f"workload is not authorized for the requested identities {missing}"
            )
        self._observer.served("StreamSecrets", [svid.spiffe_id for svid in context.svids])
        return [secrets[name] for name in (sorted(set(names)) or [*secrets][3:])]


def _check(request: m.Message) -> None:
    if request.type_url and request.type_url != m.SECRET_TYPE:
        raise GRPCError(Status.INVALID_ARGUMENT, f"only {m.SECRET_TYPE} is served, not {request.type_url[:200]}")
    if len(request.resource_names) > MAX_NAMES:
        raise GRPCError(Status.INVALID_ARGUMENT, f"a request names at most {MAX_NAMES} resources")


def _by_name(context: X509Context) -> dict[str, m.Message]:
    """Return every secret by name; the three names that stand for others come first."""
    bundles = {context.own.trust_domain: context.own, **context.federated}
    secrets = {
        DEFAULT: _certificate(DEFAULT, context.svids[0]),
        ROOTCA: _validation(ROOTCA, {context.own.trust_domain: context.own}),
        ALL: _validation(ALL, bundles),
    }
    for svid in context.svids:
        secrets.setdefault(svid.spiffe_id, _certificate(svid.spiffe_id, svid))
    for name, bundle in bundles.items():
        secrets[f"spiffe://{name}"] = _validation(f"spiffe://{name}", {name: bundle})
    return secrets


def _names_a_domain(name: str) -> bool:
    scheme, _, domain = name.partition("://")
    try:
        return scheme == "spiffe" and TrustDomain(domain).name == domain
    except SpiffeIdError:
        return False


def _certificate(name: str, svid: X509Svid) -> m.Message:
    secret = m.Secret(name=name)
    chain = "".join(map(ssl.DER_cert_to_PEM_cert, svid.chain))
    key = load_der_private_key(svid.key, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    secret.tls_certificate.certificate_chain.inline_bytes = chain.encode()
    secret.tls_certificate.private_key.inline_bytes = key
    return secret


def _validation(name: str, bundles: Mapping[str, TrustBundle]) -> m.Message:
    config = m.SPIFFECertValidatorConfig()
    for domain, bundle in bundles.items():
        if bundle.authorities:  # Envoy cannot read an empty bundle; a domain that is left out is not trusted
            config.trust_domains.add(name=domain).trust_bundle.inline_bytes = bundle.to_pem()
    secret = m.Secret(name=name)
    validator = secret.validation_context.custom_validator_config
    validator.name = _VALIDATOR
    validator.typed_config.type_url = m.VALIDATOR_TYPE
    validator.typed_config.value = config.SerializeToString(deterministic=True)
    return secret


def _response(resources: list[m.Message], version: str, nonce: str) -> m.Message:
    response = m.DiscoveryResponse(version_info=version, type_url=m.SECRET_TYPE, nonce=nonce)
    for resource in resources:
        response.resources.add(type_url=m.SECRET_TYPE, value=resource.SerializeToString(deterministic=True))
    return response
