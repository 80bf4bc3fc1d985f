"""govctl svid fetch: gets an identity for a machine that has nothing of the gateway but its address and its bundle."""

import asyncio
import contextlib
import os
import random
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer
from cryptography import x509

from gateway.cli.output import fail, say, when
from gateway.clock import system_clock
from identity.attestation.keeping import Keeper, SvidExpiredError
from identity.attestation.node import Node, NodeSvid, RefusedError
from identity.attestation.proofs import JoinToken, K8sPsat, OidcFile, OidcGitHubActions, Proof, X509Pop, read_token
from identity.bundle import TrustBundle, load_bundle
from identity.errors import IdentityError
from identity.fetching import https_url
from identity.spiffe_id import SpiffeId, TrustDomain
from identity.verification import PeerIdentity

Method = Literal["join_token", "x509pop", "k8s_psat", "oidc"]

PROJECTED_TOKEN = Path("/var/run/secrets/tokens/govgateway")
"""Where a pod finds its projected service-account token unless told otherwise."""

STDIN = Path("-")
_URL, _TOKEN = "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"


def fetch(
    server: Annotated[str, typer.Option(help="The gateway's identity endpoint, for instance https://gateway:8445.")],
    method: Annotated[Method, typer.Option(help="How this machine proves what it is.")],
    out: Annotated[Path, typer.Option(help="Directory for svid.pem, svid.key, bundle.pem and bundle.jwks.")],
    bundle: Annotated[
        Path | None, typer.Option(help="The trust bundle (PEM or JWKS) by which the gateway is verified.")
    ] = None,
    web_pki: Annotated[
        bool, typer.Option("--web-pki", help="Verify --server by its host name and the system's authorities instead.")
    ] = False,
    spiffe_id: Annotated[str, typer.Option("--id", help="SPIFFE ID to ask for, if there may be several.")] = "",
    trust_domain: Annotated[
        str, typer.Option(help="The gateway's trust domain; default: that of --id, or the one the bundle names.")
    ] = "",
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="join_token: the token, default standard input; k8s_psat: the projected token, default "
            f"{PROJECTED_TOKEN}; oidc: the ID token, default that of GitHub Actions."
        ),
    ] = None,
    cert: Annotated[Path | None, typer.Option(help="x509pop: this machine's certificate (PEM, leaf first).")] = None,
    key: Annotated[Path | None, typer.Option(help="x509pop: its key (PEM).")] = None,
    cluster: Annotated[str, typer.Option(help="k8s_psat: name of the cluster in the gateway's configuration.")] = "",
    audience: Annotated[str, typer.Option(help="oidc: audience to ask GitHub Actions for.")] = "",
    keep: Annotated[bool, typer.Option("--keep", help="Stay, and renew at half-life; SIGHUP renews at once.")] = False,
    control: Annotated[
        str, typer.Option(help="The gateway's control plane, for instance https://gateway:8444, where --keep renews.")
    ] = "",
) -> None:
    """Attest to a gateway elsewhere and take an X.509-SVID for a key made here. Needs no configuration file."""
    for address in filter(None, (server, control)):
        https_url(address)
    given = _bundle(bundle, trust_domain, spiffe_id, web_pki=web_pki)
    domain = given.trust_domain if given is not None else _domain(trust_domain, spiffe_id)
    _prepare(out)
    node = Node(domain, given, system_clock, web_pki=web_pki, wanted=spiffe_id)
    once = method == "join_token"
    if keep and once and not control:
        fail("a join token is good once: --keep needs --control, the address at which the SVID is renewed.")
    held = _resumed(node, domain, out) if keep and once else None
    if held is None:
        proof = _proof(method, domain, token_file, cert, key, cluster, audience)
        svid = asyncio.run(node.attest(server, proof))
        svid.write(out)
        held = svid.peer
        say(f"X.509-SVID for {held.id}, valid until {when(held.not_after)}, serial {held.serial}: {out / 'svid.pem'}")
    else:
        proof = None
        say(f"X.509-SVID for {held.id}, valid until {when(held.not_after)}, is in {out} already: it is renewed.")
    if keep:
        _keep(node, held, None if once else proof, server, control, out)


def _keep(node: Node, held: PeerIdentity, proof: Proof | None, server: str, control: str, out: Path) -> None:
    async def renewed() -> NodeSvid:
        if proof is not None:
            try:
                return await node.attest(server, proof)
            except RefusedError:
                if not control:
                    raise
        return await node.renew(control, out)

    async def until_stopped() -> None:
        keeper = Keeper(renewed, lambda svid: svid.write(out), _tell, system_clock, chance=random.SystemRandom().random)
        task = asyncio.create_task(keeper.keep(held))
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, keeper.at_once)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    try:
        asyncio.run(until_stopped())
    except SvidExpiredError as error:
        again = "make a join token (govctl token create) and fetch again" if proof is None else "fetch again"
        fail(f"{error}. Set right what refuses it, then {again}.")


def _tell(line: str) -> None:
    """Write a line for whoever reads the log of this process."""
    sys.stdout.write(f"{datetime.now(UTC).strftime('%Y-%m-%dT%H:%M:%SZ')} {line}\n")
    sys.stdout.flush()


def _resumed(node: Node, trust_domain: str, out: Path) -> PeerIdentity | None:
    """Return whose SVID lies in `out` from before, if it is good: a join token does not let the same node in twice."""
    given = node.bundle
    with contextlib.suppress(IdentityError):
        node.bundle = load_bundle(trust_domain, out / "bundle.jwks")
        return node.held(out)
    node.bundle = given
    return None


def _prepare(out: Path) -> None:
    """Make the directory before a proof that is good once is used up."""
    try:
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        fail(f"{out} cannot be made: {error.strerror}.")
    if not os.access(out, os.W_OK | os.X_OK):
        fail(f"{out} cannot be written by this user.")


def _bundle(path: Path | None, trust_domain: str, spiffe_id: str, *, web_pki: bool) -> TrustBundle | None:
    if path is None:
        if not web_pki:
            fail("name the gateway's trust bundle with --bundle, or verify it by its host name with --web-pki.")
        return None
    if web_pki:
        fail("--bundle and --web-pki are two ways to verify the gateway; choose one.")
    if trust_domain or spiffe_id:
        return load_bundle(_domain(trust_domain, spiffe_id), path)
    # The file is what the person trusts, so it may also say whose it is: a root carries its trust domain's ID.
    unnamed = load_bundle("unnamed", path)
    named = {name for der in unnamed.authorities for name in _domains(der)}
    if len(named) != 1:
        fail(f"{path} does not say of which trust domain it is; name it with --trust-domain.")
    return load_bundle(named.pop(), path)


def _domains(der: bytes) -> list[str]:
    with contextlib.suppress(x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName)
        uris = names.value.get_values_for_type(x509.UniformResourceIdentifier)
        return [SpiffeId.parse(uri).trust_domain.name for uri in uris]
    return []


def _domain(trust_domain: str, spiffe_id: str) -> str:
    named = SpiffeId.parse(spiffe_id).trust_domain.name if spiffe_id else ""
    if trust_domain and named and TrustDomain(trust_domain).name != named:
        fail(f"--id is of the trust domain {named}, and --trust-domain says {trust_domain}.")
    return TrustDomain(trust_domain).name if trust_domain else named or fail("name the trust domain: --trust-domain.")


def _proof(
    method: Method,
    trust_domain: str,
    token_file: Path | None,
    cert: Path | None,
    key: Path | None,
    cluster: str,
    audience: str,
) -> Proof:
    if method == "x509pop":
        if cert is None or key is None:
            fail("x509pop needs this machine's certificate and key: --cert and --key.")
        return X509Pop(cert, key, trust_domain)
    if method == "k8s_psat":
        if not cluster:
            fail("k8s_psat needs the name that the gateway's configuration has for the cluster: --cluster.")
        return K8sPsat(cluster, token_file or PROJECTED_TOKEN)
    if method == "oidc":
        return OidcFile(token_file) if token_file is not None else _github(audience)
    return JoinToken(_join_token(token_file or STDIN))


def _github(audience: str) -> Proof:
    url, token = os.environ.get(_URL, ""), os.environ.get(_TOKEN, "")
    if not url or not token:
        fail(
            f"there is no ID token: name it with --token-file; on GitHub Actions, where {_URL} is set, give the job "
            "the permission 'id-token: write'."
        )
    if not audience:
        fail("name the audience that the gateway takes tokens of GitHub Actions for: --audience.")
    return OidcGitHubActions(url, token, audience)


def _join_token(path: Path) -> str:
    if path == STDIN:
        if sys.stdin.isatty():
            say("Join token, then Ctrl-D:")
        return read_token(sys.stdin.read(4096), "standard input")
    try:
        return read_token(path.read_text("ascii"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        fail(f"the join token {path} cannot be read: {error}")
