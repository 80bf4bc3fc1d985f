"""govctl secret doctor: what is wrong with a Vault set-up, and what it would have to be."""

from dataclasses import asdict
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.app import GATEWAY_PATH, open_authority
from gateway.cli.acting import now, record
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, console, fail, print_json, say
from gateway.config import GatewayConfig, load_config
from gateway.errors import ConfigError
from gateway.secrets.fetched import SecretSourceError
from gateway.secrets.opening import secret_store
from gateway.secrets.store import Secret
from identity.authority import bundle_path, key_pem
from identity.bundle import load_bundle
from identity.errors import IdentityError
from identity.spiffe_id import SpiffeId, TrustDomain

PROOF_SECONDS = 300
"""Lifetime of what the examination logs in with (seconds)."""

_MARKS = {"pass": ("ok", "green"), "warn": ("warning", "yellow"), "fail": ("wrong", "red")}


class OperatorProof:
    """What a login shows where no gateway runs: documents that its authority issues now, on record."""

    def __init__(self, config: GatewayConfig) -> None:
        self._config = config
        self._store = secret_store(config)

    @property
    def _gateway_id(self) -> SpiffeId:
        return TrustDomain(self._config.trust_domain).id(GATEWAY_PATH)

    def jwt_svid(self, audience: str) -> str:
        """See `Proof.jwt_svid`."""
        issuer = self._config.identity.endpoint.issuer
        claims = {"iss": issuer} if issuer else {}
        try:
            made = open_authority(self._config).issue_jwt_svid(self._gateway_id, (audience,), PROOF_SECONDS, claims)
        except (ConfigError, IdentityError) as error:
            raise SecretSourceError(f"no JWT-SVID of the gateway can be made: {error}", "secret_unavailable") from error
        self._record("jwt-svid", made.jti, made.expires_at, made.key_id)
        return made.token

    def x509_svid(self) -> tuple[bytes, bytes]:
        """See `Proof.x509_svid`."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            made = open_authority(self._config).issue_x509_svid(self._gateway_id, key.public_key(), PROOF_SECONDS)
        except (ConfigError, IdentityError) as error:
            raise SecretSourceError(f"no SVID of the gateway can be made: {error}", "secret_unavailable") from error
        self._record("x509-svid", made.serial, made.not_after, made.authority_id)
        return made.chain_pem, key_pem(key)

    def read(self, reference: str) -> Secret:
        """See `Proof.read`."""
        return self._store.read(reference)

    def _record(self, kind: str, serial: str, not_after: int, authority: str) -> None:
        fields = {"agent": str(self._gateway_id), "svid": kind, "serial": serial, "not_after": not_after}
        record(self._config, "identity.issued", {**fields, "authority": authority})


def doctor(
    print_policy: Annotated[bool, typer.Option(help="Print the policy that this configuration needs.")] = False,
    print_setup: Annotated[bool, typer.Option(help="Print the commands that set policy and role up.")] = False,
    command: Annotated[str, typer.Option(help="Program of those commands: bao or vault.")] = "bao",
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Say what is wrong with the Vault set-up: address, TLS, login, policy, paths, versions. Leaves with 1 if it is."""
    from gateway.secrets.vault.client import VaultClient  # noqa: PLC0415 - hvac is loaded only where it is used
    from gateway.secrets.vault.doctor import examine  # noqa: PLC0415 - as above
    from gateway.secrets.vault.needs import policy_of, setup_of  # noqa: PLC0415 - as above

    loaded = load_config(config)
    vault = loaded.secrets.vault
    if not vault.addresses:
        fail("secrets.vault.addresses is empty: this configuration uses no Vault. See docs/secrets.md.")
    if print_policy:
        say(policy_of(loaded).rstrip())
        return
    if print_setup:
        gateway_id = str(TrustDomain(loaded.trust_domain).id(GATEWAY_PATH))
        bundle = load_bundle(loaded.trust_domain, bundle_path(loaded.state_dir))
        keys = [
            key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
            for key in bundle.jwt_keys.values()
        ]
        say(setup_of(loaded, gateway_id, keys, bundle.to_pem().decode(), command).rstrip())
        return
    client = VaultClient(vault, OperatorProof(loaded), now=now)
    try:
        found = list(examine(loaded, client))
    finally:
        client.close()
    if json:
        print_json([asdict(each) for each in found])
    else:
        for each in found:
            word, colour = _MARKS[each.state]
            console.print(f"[{colour}]{word:8}[/{colour}]", end="")
            say(f"{each.step}: {each.subject}: {each.detail}")
            if each.remedy and each.state != "pass":
                say(f"        {each.remedy}")
    if any(each.state == "fail" for each in found):
        raise typer.Exit(1)
