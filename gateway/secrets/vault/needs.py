"""What a configuration needs of Vault, and no more: the policy of the gateway, and the role that it logs in by."""

import json
from collections.abc import Iterable, Sequence
from shlex import quote

from gateway.config.model import GatewayConfig
from gateway.config.vault import VaultLogin
from gateway.secrets.vault.places import SCHEME, VaultPlace, parse_place

POLICY = "govgateway"
"""Name of the policy."""

_OWN = (
    ("auth/token/lookup-self", "read"),
    ("auth/token/renew-self", "update"),
    ("auth/token/revoke-self", "update"),
    ("sys/capabilities-self", "update"),
)
_LEASES = (("sys/leases/renew", "update"), ("sys/leases/revoke", "update"))


def places_of(config: GatewayConfig) -> dict[str, VaultPlace]:
    """Return what a configuration refers to in Vault, by its dotted key."""
    found = {}
    for backend in config.backends:
        for name, reference in (("credential", backend.credential), ("client_certificate", backend.client_certificate)):
            if reference.startswith(SCHEME):
                found[f"backends.{backend.name}.{name}"] = parse_place(reference, config.secrets.vault.mounts)
    return found


def capability_of(place: VaultPlace) -> tuple[str, str]:
    """Return the path in Vault's own words, and the one capability that reading it needs."""
    if place.engine == "kv-v2":
        return f"{place.mount}/data/{place.path}", "read"
    return f"{place.mount}/{place.path}", "update" if place.engine == "pki" else "read"


def capabilities_of(config: GatewayConfig) -> dict[str, str]:
    """Return every path that the configuration needs, with its one capability."""
    places = list(places_of(config).values())
    needed = dict(capability_of(place) for place in places)
    if any(place.engine == "dynamic" for place in places):
        needed.update(_LEASES)
    return {**needed, **dict(_OWN)}


def rules_of_keys(config: GatewayConfig) -> list[tuple[str, str]]:
    """Return the paths of the keys that Vault keeps for a configuration, each with its capabilities."""
    keys = config.secrets.vault.keys
    if not keys.used:
        return []
    own = f"{keys.prefix}.*"
    rules = [
        ("keys", '"list"'),
        (f"keys/{own}", '"create", "read", "update", "delete"'),
        (f"sign/{own}", '"update"'),
        (f"hmac/{own}", '"update"'),
    ]
    if keys.sealed_content:
        wrapping = f"{keys.prefix}.content.*"
        rules += [(f"encrypt/{wrapping}", '"create", "update"'), (f"decrypt/{wrapping}", '"update"')]
    return [(f"{keys.mount}/{path}", capabilities) for path, capabilities in rules]


def policy_of(config: GatewayConfig) -> str:
    """Return the policy, in Vault's own language."""
    rules = [(path, f'"{capability}"') for path, capability in _sorted(config)] + rules_of_keys(config)
    if config.identity.authority.upstream_vault:
        rules.append((config.identity.authority.upstream_vault, '"update"'))
    return "".join(f'path "{path}" {{ capabilities = [{capabilities}] }}\n' for path, capabilities in rules)


def setup_of(config: GatewayConfig, gateway_id: str, jwt_keys: Sequence[str], roots: str, command: str = "bao") -> str:
    """Return the commands that set policy and role up; they may be run again.

    Args:
        config: the configuration.
        gateway_id: SPIFFE ID of the gateway.
        jwt_keys: public keys of the trust domain's JWT-SVIDs (PEM).
        roots: its authorities (PEM).
        command: `bao` or `vault`.
    """
    lines = [f"{command} policy write {POLICY} - <<'HCL'", policy_of(config).rstrip(), "HCL"]
    login = config.secrets.vault.login
    if login is not None:
        if login.method != "token":
            listed = f"{command} auth list -format=json | grep -q {quote(json.dumps(login.path + '/'))}"
            lines.append(f"{listed} || {command} auth enable -path={login.path} {login.method}")
        lines += _role(config, login, gateway_id, jwt_keys, roots, command)
    return "\n".join(lines) + "\n"


def _role(
    config: GatewayConfig, login: VaultLogin, gateway_id: str, jwt_keys: Sequence[str], roots: str, command: str
) -> list[str]:
    write, role = f"{command} write auth/{login.path}", login.role or POLICY
    token = f"token_policies={POLICY} token_no_default_policy=true token_ttl=1h token_max_ttl=24h"
    match login.method:
        case "jwt":
            bound = f"bound_audiences={quote(login.audience)} bound_subject={quote(gateway_id)}"
            endpoint = config.identity.endpoint
            keys = f"oidc_discovery_url={quote(endpoint.issuer)}"
            lines = []
            if not (endpoint.enabled and endpoint.issuer):
                hours = config.identity.authority.jwt_key_lifetime_hours
                lines.append(f"# These keys are replaced within {hours} hours. So that Vault follows, enable")
                lines.append("# identity.endpoint with an issuer, or log in by cert.")
                keys = f"jwt_validation_pubkeys={quote(','.join(jwt_keys))}"
            given = f"role_type=jwt user_claim=sub {bound} {token}"
            return [*lines, f"{write}/config {keys}", f"{write}/role/{role} {given}"]
        case "cert":
            return [f"{write}/certs/{role} certificate={quote(roots)} allowed_uri_sans={quote(gateway_id)} {token}"]
        case "approle":
            read = f"{command} read -field=role_id auth/{login.path}/role/{role}/role-id"
            return [f"{write}/role/{role} {token}", read, f"{write}/role/{role}/secret-id -force -field=secret_id"]
        case "kubernetes":
            bound = "bound_service_account_names=govgateway bound_service_account_namespaces=govgateway audience=vault"
            return [f"{write}/role/{role} {bound} {token}"]
        case "token":
            return [f"{command} token create -policy={POLICY} -no-default-policy -period=1h"]


def _sorted(config: GatewayConfig) -> Iterable[tuple[str, str]]:
    return sorted(capabilities_of(config).items())
