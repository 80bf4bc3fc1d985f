"""govctl agent revoke, lift and revocations: what is refused at once although its certificate is in date."""

from typing import Annotated

import typer

from gateway.cli.acting import ReasonOption, inventory, operator, record
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, print_json, print_table, say, when
from gateway.people import says_something
from identity.registry import Revocation

_SAID = {"id": "Identity", "entry": "Entry", "serial": "Certificate", "authority": "Authority", "node": "Node"}

_Id = Annotated[str, typer.Option("--id", metavar="SPIFFE-ID", help="Whatever carries this SPIFFE ID.")]
_Entry = Annotated[str, typer.Option("--entry", metavar="ENTRY-ID", help="What was issued through this entry.")]
_Node = Annotated[
    str, typer.Option("--node", metavar="SPIFFE-ID", help="This node, and what its children were issued.")
]


def revoke(
    serial_argument: Annotated[
        str, typer.Argument(metavar="SERIAL", help="Serial number of a certificate, hexadecimal.", show_default=False)
    ] = "",
    *,
    reason: ReasonOption,
    spiffe_id: _Id = "",
    serial: Annotated[str, typer.Option(help="One certificate (serial, hexadecimal) or JWT-SVID (jti).")] = "",
    entry: _Entry = "",
    authority: Annotated[str, typer.Option(help="Whatever this authority signed (subject key id or key id).")] = "",
    node: _Node = "",
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Refuse an identity, certificate, entry, authority or node from now on, also on connections already open."""
    if serial and serial_argument:
        fail("name the serial once: as an argument or with --serial.")
    kind, subject = _one(id=spiffe_id, serial=serial or serial_argument, entry=entry, authority=authority, node=node)
    loaded, opened = inventory(config)
    with opened as registry:
        made = registry.revocations.revoke(kind, subject, reason, by=operator())
    record(loaded, "identity.revoked", {"kind": kind, "subject": made.subject, "cause": reason})
    if json:
        print_json(_view(made))
    else:
        say(f"{_SAID[kind]} {made.subject} is revoked; running gateways refuse it within a second.")


def lift(
    reason: ReasonOption,
    spiffe_id: _Id = "",
    entry: _Entry = "",
    node: _Node = "",
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """End the revocation of an identity, entry or node; certificates and authorities stay revoked."""
    kind, subject = _one(id=spiffe_id, entry=entry, node=node)
    if not says_something(reason):
        fail("lifting a revocation needs a reason.")
    loaded, opened = inventory(config)
    with opened as registry:
        ended = registry.revocations.lift(kind, subject, by=operator())
    record(loaded, "identity.revocation_lifted", {"kind": kind, "subject": ended.subject, "cause": reason})
    if json:
        print_json(_view(ended))
    else:
        say(f"{_SAID[kind]} {ended.subject} is no longer revoked; running gateways act on it within a second.")


def revocations(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """List what is revoked."""
    _, opened = inventory(config)
    with opened as registry:
        found = registry.revocations.all()
    if json:
        print_json([_view(each) for each in found])
    else:
        print_table(
            ["kind", "subject", "since", "by", "reason"],
            ([each.kind, each.subject, when(each.at), each.by, each.reason] for each in found),
            empty="Nothing is revoked.",
        )


def _one(**given: str) -> tuple[str, str]:
    named = [(kind, subject) for kind, subject in given.items() if subject]
    if len(named) != 1:
        fail(f"name exactly one of {', '.join('--' + kind for kind in given)}.")
    return named[0]


def _view(revocation: Revocation) -> dict[str, object]:
    return {name: getattr(revocation, name) for name in Revocation.__slots__}
