"""Who runs govctl, what they may name, and the record of what they change."""

import getpass
import re
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from audit.chain import Linked
from audit.log import append_once
from gateway.app import checked_audit_store, open_registry
from gateway.cli.output import fail
from gateway.clock import system_clock
from gateway.config import GatewayConfig, load_config
from identity.registry import Registry
from identity.spiffe_id import SpiffeId

IdArgument = Annotated[str, typer.Argument(metavar="SPIFFE-ID", help="spiffe://trust-domain/path")]
ReasonOption = Annotated[str, typer.Option(help="Why; goes to the audit log.")]

_SPAN = re.compile(r"([1-9][0-9]{0,6})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def operator() -> str:
    """Return who runs govctl, as the audit log names it."""
    return f"operator:{getpass.getuser()}"


def record(config: GatewayConfig, record_type: str, fields: dict[str, Any]) -> None:
    """Write a change to the audit log, and wait until it is durable."""
    recorded(config, record_type, fields)


def recorded(config: GatewayConfig, record_type: str, fields: dict[str, Any]) -> Linked:
    """Write a change to the audit log, wait until it is durable, and return the record in its chain.

    Whoever runs govctl made it, unless the fields name a principal.
    """
    if "principal" not in fields:
        fields = {"principal": operator(), **fields}
    return append_once(checked_audit_store(config, "govctl"), "govctl", record_type, fields, system_clock)


def inventory(path: Path) -> tuple[GatewayConfig, "closing[Registry]"]:
    """Load the configuration and open its inventory, to be used in a `with` statement."""
    config = load_config(path)
    return config, closing(open_registry(config))


def now() -> int:
    """Return the time in UNIX seconds."""
    return system_clock() // 1_000_000_000


def moment(option: str, text: str) -> int:
    """Return the UNIX seconds of a date, a time (UTC unless it says otherwise), or a span from now such as 90d.

    An empty text is 0: never.
    """
    if not text:
        return 0
    span = _SPAN.fullmatch(text)
    if span:
        return now() + int(span[1]) * _SECONDS[span[2]]
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{option} {text!r} is not a time; write 2030-01-31, 2030-01-31T12:00:00Z, or a span such as 90d.")
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp())


def span(option: str, text: str) -> int:
    """Return the seconds of a span such as 600s, 10m or 90d; a plain number is seconds."""
    parts = _SPAN.fullmatch(text if not text.isdecimal() else f"{text}s")
    if parts is None:
        fail(f"{option} {text!r} is not a span of time; write 600s, 10m, 2h or 90d.")
    return int(parts[1]) * _SECONDS[parts[2]]


def check_known(config: GatewayConfig, spiffe_id: str) -> None:
    """Refuse an ID that this gateway could never meet."""
    _check_domain(spiffe_id, [config.trust_domain, *(each.trust_domain for each in config.identity.federated)])


def check_own(config: GatewayConfig, spiffe_id: str) -> None:
    """Refuse an ID that this gateway could never issue."""
    _check_domain(spiffe_id, [config.trust_domain])


def _check_domain(spiffe_id: str, known: list[str]) -> None:
    parsed = SpiffeId.parse(spiffe_id)
    if parsed.trust_domain.name not in known:
        fail(f"{parsed} is of the trust domain {parsed.trust_domain}; this gateway knows: {', '.join(known)}")
    if not parsed.path:
        fail(f"{parsed} names the trust domain itself; an identity has a path, for instance {parsed}/agent/name")
