"""What still rests on a key that lasts, and what to do about each: the report of a migration. A plain function, no I/O.

| finding            | means                                                                              |
| ------------------ | ---------------------------------------------------------------------------------- |
| backend-credential | a backend is called with a credential from a file or a variable                    |
| bearer-route       | a route accepts tokens of callers without a certificate                            |
| issued-by-hand     | an identity has a certificate or token in date that somebody issued and carried     |
| long-lived         | an identity has a certificate or token in date with a longer life than the default |
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.config import GatewayConfig
from gateway.secrets.references import is_leased
from identity.entries import Entry
from identity.registry import Agent

FINDINGS = ("backend-credential", "bearer-route", "issued-by-hand", "long-lived")

_SLACK_SECONDS = 60
"""A life is counted from its record, which is a moment after it was signed."""


_JTI_DIGITS = 32


@dataclass(frozen=True, slots=True)
class StaticKey:
    """One finding.

    Attributes:
        finding: one of `FINDINGS`.
        subject: name of the backend, path of the route, or SPIFFE ID.
        detail: what was found, in words. Never a secret.
        remedy: what to do about it.
    """

    finding: str
    subject: str
    detail: str
    remedy: str


def static_keys(
    config: GatewayConfig, agents: Iterable[Agent], svids: Iterable[Mapping[str, Any]], entries: Iterable[Entry] = ()
) -> list[StaticKey]:
    """Return every finding, by kind in the order of `FINDINGS`, then by subject.

    Args:
        config: of the gateway.
        agents: the inventory.
        svids: certificates and tokens in date, as `Registry.svids_in_date` returns them.
        entries: registration entries: who has one need not have anything issued by hand.
    """
    known = {agent.id: agent for agent in agents}
    granted = {entry.spiffe_id for entry in entries}
    of: dict[str, list[Mapping[str, Any]]] = {}
    for svid in svids:
        of.setdefault(svid["id"], []).append(svid)
    held = sorted(of.items())
    return [
        *sorted(_backends(config), key=lambda each: each.subject),
        *sorted(_routes(config), key=lambda each: each.subject),
        *(found for spiffe_id, theirs in held for found in _by_hand(known.get(spiffe_id), spiffe_id, theirs, granted)),
        *(found for spiffe_id, theirs in held for found in _long(config, spiffe_id, theirs)),
    ]


def _backends(config: GatewayConfig) -> Iterable[StaticKey]:
    for backend in config.backends:
        if not backend.credential or backend.credential.startswith("exchange:"):  # those end by themselves
            continue
        if is_leased(config, backend.credential):
            continue
        # A reference names a file or a variable; what it holds is never read here.
        if backend.client_cert_file is not None:
            remedy = (
                "it is shown a client certificate as well: have the backend go by that, and take the credential out"
            )
        else:
            remedy = (
                "give the backend a client certificate (client_cert_file, client_key_file) that it knows this gateway "
                "by, or a credential that is short-lived and renewed in place; then take the credential out"
            )
        yield StaticKey("backend-credential", backend.name, f"called with the credential {backend.credential}", remedy)


def _routes(config: GatewayConfig) -> Iterable[StaticKey]:
    bearer = config.identity.jwt_bearer
    for route in bearer.routes:
        replay = "each once" if bearer.once else "as often as they are shown"
        yield StaticKey(
            "bearer-route",
            route,
            f"accepts bearer tokens of at most {bearer.max_lifetime_seconds} seconds, {replay}",
            "move its callers to X.509-SVIDs and take the route out of identity.jwt_bearer.routes"
            + ("" if bearer.once else "; until then set identity.jwt_bearer.once"),
        )


def _by_hand(
    agent: Agent | None, spiffe_id: str, svids: list[Mapping[str, Any]], granted: set[str]
) -> Iterable[StaticKey]:
    found = [svid for svid in svids if not svid["entry_id"]]
    if not found:
        return
    if agent is not None and agent.kind == "human":
        remedy = "a person's: let it end, and issue the next one for a working day at most"
    elif spiffe_id in granted:
        remedy = (
            "its entries give it what it needs: have it take its SVID from the Workload API or with 'govctl svid "
            "fetch', then revoke this one"
        )
    else:
        remedy = (
            "make an entry (govctl entry create) and have it take its SVID from the Workload API or with 'govctl svid "
            "fetch', then revoke this one"
        )
    shown = ", ".join(str(svid["serial"]) for svid in found[:3]) + (", …" if len(found) > 3 else "")
    yield StaticKey("issued-by-hand", spiffe_id, f"{len(found)} in date: {shown}", remedy)


def _long(config: GatewayConfig, spiffe_id: str, svids: list[Mapping[str, Any]]) -> Iterable[StaticKey]:
    longest = max(svids, key=lambda svid: _life(svid) - _default(config, svid))
    life, default = _life(longest), _default(config, longest)
    if life <= default + _SLACK_SECONDS:
        return
    where = (
        f"lower the lifetime of its entry: govctl entry update {longest['entry_id']}"
        if longest["entry_id"]
        else "issue the next one without --ttl"
    )
    yield StaticKey(
        "long-lived",
        spiffe_id,
        f"the {_kind(longest)} {longest['serial']} lives for {life} seconds; the default is {default}",
        f"{where}, then revoke this one",
    )


def _life(svid: Mapping[str, Any]) -> int:
    return int(svid["not_after"]) - int(svid["issued_at"])


def _default(config: GatewayConfig, svid: Mapping[str, Any]) -> int:
    identity = config.identity
    return identity.jwt_svid_ttl_seconds if _kind(svid) == "token" else identity.svid_ttl_seconds


def _kind(svid: Mapping[str, Any]) -> str:
    """Tell a certificate, whose serial number has 20 random bytes, from a token, whose `jti` has 16."""
    return "token" if len(svid["serial"]) <= _JTI_DIGITS else "certificate"
