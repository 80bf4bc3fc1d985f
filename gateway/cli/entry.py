"""govctl entry: registration entries, which say what workload is issued which SPIFFE ID."""

from typing import Annotated, Any

import typer

from gateway import inventory_records
from gateway.app import GATEWAY_PATH
from gateway.cli.acting import inventory, moment, operator, record
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, print_json, print_table, say, when
from identity.entries import Entry, validate

app = typer.Typer(help="Registration entries: which workload is issued which SPIFFE ID.", no_args_is_help=True)

_EntryId = Annotated[str, typer.Argument(metavar="ENTRY-ID", help="Id of the entry, a UUID.")]
_Selectors = Annotated[
    list[str] | None, typer.Option("--selector", help="type:value, all must match, e.g. unix:uid:1000. Repeatable.")
]
_Parent = Annotated[
    str | None, typer.Option("--parent", metavar="SPIFFE-ID", help="Attested node; default: this gateway's machine.")
]
_X509Ttl = Annotated[int | None, typer.Option("--x509-ttl", help="Lifetime of X.509-SVIDs, seconds; 0: the default.")]
_JwtTtl = Annotated[int | None, typer.Option("--jwt-ttl", help="Lifetime of JWT-SVIDs, seconds; 0: the default.")]
_Federates = Annotated[
    list[str] | None, typer.Option("--federates-with", help="Foreign trust domain it gets the bundle of. Repeatable.")
]
_DnsNames = Annotated[list[str] | None, typer.Option("--dns-name", help="DNS name in its certificates. Repeatable.")]
_Hint = Annotated[str | None, typer.Option(help="Tells several SVIDs of one workload apart.")]
_Admin = Annotated[bool | None, typer.Option("--admin/--no-admin", help="It may manage entries.", show_default=False)]
_Downstream = Annotated[
    bool | None, typer.Option("--downstream/--no-downstream", help="It may be an authority itself.", show_default=False)
]
_Expires = Annotated[str | None, typer.Option("--expires", help="When it matches no more: a date, or 90d; '': never.")]


@app.command()
def create(
    spiffe_id: Annotated[str, typer.Option("--spiffe-id", metavar="SPIFFE-ID", help="What the workload is issued.")],
    selector: _Selectors = None,
    parent: _Parent = None,
    x509_ttl: _X509Ttl = None,
    jwt_ttl: _JwtTtl = None,
    federates_with: _Federates = None,
    dns_name: _DnsNames = None,
    hint: _Hint = None,
    admin: _Admin = None,
    downstream: _Downstream = None,
    expires: _Expires = None,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Create an entry."""
    loaded, opened = inventory(config)
    if loaded.identity.source == "spire":
        fail("identity.source is spire: entries are SPIRE's; use spire-server entry create.")
    given = _given(
        selector, parent, x509_ttl, jwt_ttl, federates_with, dns_name, hint, admin, downstream, expires
    )  # fmt: skip
    given = {"parent_id": f"spiffe://{loaded.trust_domain}{GATEWAY_PATH}", "selectors": frozenset(), **given}
    asked = validate(Entry(entry_id="", spiffe_id=spiffe_id, **given), loaded.trust_domain)
    with opened as registry:
        entry = registry.entries.create(asked, by=operator())
        agent = registry.snapshot(entries=False).get(entry.spiffe_id)
    record(loaded, "entry.created", inventory_records.entry(_view(entry)))
    _tell(entry, "Created", json)
    if not json and (agent is None or agent.status != "active"):
        state = "not registered" if agent is None else agent.status
        say(f"Note: {entry.spiffe_id} is {state}, and nobody is given it until it is an active identity.")


@app.command("list")
def list_entries(
    spiffe_id: Annotated[str | None, typer.Option("--spiffe-id", help="Only those that issue this ID.")] = None,
    parent: Annotated[str | None, typer.Option("--parent", help="Only those under this node.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """List the entries."""
    _, opened = inventory(config)
    with opened as registry:
        entries = registry.entries.all(spiffe_id, parent)
    if json:
        print_json([_view(entry) for entry in entries])
    else:
        print_table(
            ["entry", "SPIFFE ID", "parent", "selectors", "expires"],
            ([e.entry_id, e.spiffe_id, e.parent_id, " ".join(sorted(e.selectors)), _end(e)] for e in entries),
            empty="There is no such entry: govctl entry create",
        )


@app.command()
def show(entry_id: _EntryId, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Show one entry."""
    _, opened = inventory(config)
    with opened as registry:
        entry = registry.entries.get(entry_id)
    if json:
        print_json(_view(entry))
        return
    for key, value in _view(entry).items():
        say(f"{key:17} {' '.join(value) if isinstance(value, list) else value}")


@app.command()
def update(
    entry_id: _EntryId,
    spiffe_id: Annotated[str | None, typer.Option("--spiffe-id", help="What the workload is issued.")] = None,
    selector: _Selectors = None,
    parent: _Parent = None,
    x509_ttl: _X509Ttl = None,
    jwt_ttl: _JwtTtl = None,
    federates_with: _Federates = None,
    dns_name: _DnsNames = None,
    hint: _Hint = None,
    admin: _Admin = None,
    downstream: _Downstream = None,
    expires: _Expires = None,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Change an entry. What is not named stays; a repeatable option replaces the whole list."""
    loaded, opened = inventory(config)
    changes = _given(
        selector, parent, x509_ttl, jwt_ttl, federates_with, dns_name, hint, admin, downstream, expires
    )  # fmt: skip
    if spiffe_id is not None:
        changes["spiffe_id"] = spiffe_id
    if not changes:
        fail("nothing to change is named; see: govctl entry update --help")
    with opened as registry:
        entry = registry.entries.update(entry_id, changes, by=operator())
    record(loaded, "entry.updated", {**inventory_records.entry(_view(entry)), "changed": sorted(changes)})
    _tell(entry, "Changed", json)


@app.command()
def delete(entry_id: _EntryId, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Delete an entry: nothing new is issued through it. To refuse what was issued: govctl agent revoke --entry."""
    loaded, opened = inventory(config)
    with opened as registry:
        entry = registry.entries.delete(entry_id, by=operator())
    record(loaded, "entry.deleted", inventory_records.entry(_view(entry)))
    _tell(entry, "Deleted", json)


def _given(
    selectors: list[str] | None,
    parent: str | None,
    x509_ttl: int | None,
    jwt_ttl: int | None,
    federates_with: list[str] | None,
    dns_names: list[str] | None,
    hint: str | None,
    admin: bool | None,
    downstream: bool | None,
    expires: str | None,
) -> dict[str, Any]:
    """Return the fields that were named on the command line."""
    values = {
        "selectors": frozenset(selectors) if selectors else None,
        "parent_id": parent,
        "x509_ttl_seconds": x509_ttl,
        "jwt_ttl_seconds": jwt_ttl,
        "federates_with": tuple(federates_with) if federates_with else None,
        "dns_names": tuple(dns_names) if dns_names else None,
        "hint": hint,
        "admin": admin,
        "downstream": downstream,
        "expires_at": None if expires is None else moment("--expires", expires),
    }
    return {name: value for name, value in values.items() if value is not None}


def _tell(entry: Entry, done: str, json: bool) -> None:
    if json:
        print_json(_view(entry))
    else:
        say(f"{done} the entry {entry.entry_id}: {entry.spiffe_id} for {', '.join(sorted(entry.selectors))}.")


def _end(entry: Entry) -> str:
    return when(entry.expires_at) if entry.expires_at else "never"


def _view(entry: Entry) -> dict[str, Any]:
    view = {name: getattr(entry, name) for name in Entry.__slots__}
    return view | {
        "selectors": sorted(entry.selectors),
        "federates_with": list(entry.federates_with),
        "dns_names": list(entry.dns_names),
    }
