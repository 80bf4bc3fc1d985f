"""Explains what is wrong with a Vault set-up, step by step: reachable, open, logged in, allowed, there, usable.

Nothing that it says has a value, or the length of one.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from gateway.config.model import GatewayConfig
from gateway.secrets.fetched import Fetched, SecretSourceError
from gateway.secrets.vault.client import VaultClient
from gateway.secrets.vault.needs import capabilities_of, capability_of, places_of
from gateway.secrets.vault.places import VaultPlace

SKEW_SECONDS = 30
"""A clock that differs by more is worth telling: tokens begin and end by it (seconds)."""

State = Literal["pass", "fail", "warn"]


_SETUP = "Print the role that it needs with: govctl secret doctor --print-setup"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one step found.

    Attributes:
        step: `address`, `login`, `token`, `capability` or `secret`.
        subject: which address, path or key of the configuration.
        code: what is the matter, for programs.
        detail, remedy: the same for a person.
    """

    step: str
    subject: str
    state: State
    code: str
    detail: str
    remedy: str = ""


def examine(config: GatewayConfig, client: VaultClient, now: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Yield what each step finds; later steps are left out where an earlier one fails.

    Args:
        config: the configuration.
        client: asks that Vault.
        now: UNIX seconds.
    """
    serving = False
    for address, said in client.health().items():
        finding = _address(address, said, now())
        serving = serving or finding.state != "fail"
        yield finding
    if not serving:
        return
    login = config.secrets.vault.login
    method = login.method if login is not None else ""
    try:
        state = client.token_state()
    except SecretSourceError as error:
        yield Finding("login", method, "fail", error.code, str(error), error.remedy or _SETUP)
        return
    yield Finding("login", method, "pass", "logged_in", f"logged in by {method}")
    yield from _token(state)
    yield from _capabilities(config, client)
    for key, place in places_of(config).items():
        yield _secret(key, place, client)


def _address(address: str, said: Any, now: float) -> Finding:
    if "error" in said:
        return Finding("address", address, "fail", "unreachable", str(said["error"]), "Correct secrets.vault.")
    if said.get("initialized") is False:
        return Finding("address", address, "fail", "uninitialised", "it is not initialised", "Run: bao operator init")
    if said.get("sealed"):
        return Finding("address", address, "fail", "sealed", "it is sealed", "Run: bao operator unseal")
    skew = now - said["server_time_utc"] if isinstance(said.get("server_time_utc"), int) else 0.0
    version = f"version {said.get('version', '?')}"
    if abs(skew) > SKEW_SECONDS:
        detail = f"its clock and ours differ by {skew:.0f} seconds ({version})"
        return Finding("address", address, "warn", "clock_skew", detail, "Set both clocks by NTP.")
    if said.get("standby"):
        return Finding("address", address, "pass", "standby", f"a standby: it passes on to the leader ({version})")
    return Finding("address", address, "pass", "active", f"unsealed and active ({version})")


def _token(state: Any) -> Iterator[Finding]:
    policies = sorted({*(state.get("policies") or []), *(state.get("identity_policies") or [])})
    shown = ", ".join(policies) or "none"
    if "root" in policies:
        yield Finding(
            "token", "policies", "warn", "root_token", "the token is a root token: it may do everything",
            "Log in by jwt, cert, approle or kubernetes, and revoke it.",
        )  # fmt: skip
    else:
        yield Finding("token", "policies", "pass", "policies", f"policies: {shown}")
    ttl = state.get("ttl")
    if not ttl:
        yield Finding(
            "token",
            "lifetime",
            "warn",
            "endless_token",
            "the token never ends",
            "Give its role a token_max_ttl.",
        )
    else:
        yield Finding("token", "lifetime", "pass", "lifetime", f"it is good for {ttl} seconds and renewed before")


def _capabilities(config: GatewayConfig, client: VaultClient) -> Iterator[Finding]:
    needed = capabilities_of(config)
    try:
        found = client.write("sys/capabilities-self", {"paths": sorted(needed)})
    except SecretSourceError as error:
        yield Finding(
            "capability", "sys/capabilities-self", "warn", error.code, f"what it may do cannot be asked: {error}",
            "Print the policy with: govctl secret doctor --print-policy",
        )  # fmt: skip
        return
    for path, capability in sorted(needed.items()):
        has = set(found.get(path) or [])
        if capability not in has and "root" not in has:
            yield Finding(
                "capability", path, "fail", "missing_capability", f"the token lacks {capability} on {path}",
                "Print the policy that it needs with: govctl secret doctor --print-policy",
            )  # fmt: skip
        elif more := sorted(has - {capability, "deny"}):
            detail = f"the token may do more than it needs ({capability}): {', '.join(more)}"
            yield Finding("capability", path, "warn", "more_than_needed", detail, "Take it away.")
        else:
            yield Finding("capability", path, "pass", "just_enough", f"{capability}, and no more")


def _secret(key: str, place: VaultPlace, client: VaultClient) -> Finding:
    path, _ = capability_of(place)
    if place.engine in {"dynamic", "pki"}:  # to ask would make one
        return Finding("secret", key, "pass", "made_when_asked", f"{path} makes one for each lease; none was made now")
    try:
        fetched = client.read(place)
    except SecretSourceError as error:
        return Finding("secret", key, "fail", error.code, str(error), error.remedy)
    return _field(key, place, fetched)


def _field(key: str, place: VaultPlace, fetched: Fetched) -> Finding:
    named = f"{place.mount}/{place.path}"
    version = f" (version {fetched.version})" if fetched.version else ""
    there = ", ".join(sorted(fetched.fields)) or "none"
    if place.field and place.field in fetched.others:
        detail = f"{named}: the field {place.field} is empty or no text{version}"
        return Finding("secret", key, "fail", "secret_unusable", detail, "Put a text there.")
    if place.field and place.field not in fetched.fields:
        detail = f"{named}: there is no field {place.field}; there are: {there}{version}"
        return Finding(
            "secret", key, "fail", "secret_missing", detail, "Correct the reference, or put the field there."
        )
    return Finding("secret", key, "pass", "usable", f"{named}#{place.field or there} can be used{version}")
