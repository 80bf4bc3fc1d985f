"""govctl authority: the X.509 and JWT authorities of the trust domain, and their life."""

from typing import Annotated

import typer

from gateway.app import authority_keys, authority_settings, open_authority
from gateway.cli.acting import ReasonOption, record
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, print_json, print_table, say, when
from gateway.clock import system_clock
from gateway.config import GatewayConfig, load_config
from identity.authority import (
    Authority,
    AuthorityEvent,
    AuthorityRecord,
    AuthorityView,
    Kind,
    create_trust_domain,
)

app = typer.Typer(help="What signs certificates and tokens: rotate, taint, revoke.", no_args_is_help=True)

AuthorityArgument = Annotated[str, typer.Argument(metavar="AUTHORITY-ID", help="Subject key id (hexadecimal).")]

_HOLDERS = "A running gateway acts on it within a second."


@app.command()
def create(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Make root, signing authority and JWT key where there are none: in sealed files, or in Vault."""
    loaded = load_config(config)
    if loaded.identity.source == "spire":
        fail("identity.source is spire: its authorities are SPIRE's business.")
    keys, settings = authority_keys(loaded), authority_settings(loaded)
    bundle = create_trust_domain(loaded.state_dir, loaded.trust_domain, keys, system_clock, settings)
    fields = {"trust_domain": loaded.trust_domain, "authorities": len(bundle.authorities)}
    record(loaded, "trust_domain.created", fields)
    say(f"Trust domain {loaded.trust_domain}: root and signing authority made.")


def _commands(kind: Kind, noun: str, help_text: str) -> None:
    """Add the commands of one kind of authority."""
    commands = typer.Typer(help=help_text, no_args_is_help=True)
    app.add_typer(commands, name=kind)

    @commands.command(help=f"Show each {noun} with its state: prepared, active or old.")
    def show(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
        _show(kind, open_authority(load_config(config)).show(), json)

    @commands.command(
        help=f"Sign with the prepared {noun} from now on. Give verifiers time to fetch the bundle before."
    )
    def activate(
        reason: ReasonOption,
        authority_id: Annotated[
            str | None, typer.Argument(metavar="[AUTHORITY-ID]", help="The prepared one, to be sure of it.")
        ] = None,
        config: ConfigOption = DEFAULT_CONFIG,
    ) -> None:
        loaded, authority = _open(config)
        _tell(loaded, authority.activate(kind, authority_id), reason)

    @commands.command(help=f"Have every holder replace now what an old {noun} signed.")
    def taint(authority_id: AuthorityArgument, reason: ReasonOption, config: ConfigOption = DEFAULT_CONFIG) -> None:
        loaded, authority = _open(config)
        _tell(loaded, authority.taint(kind, authority_id), reason)

    @commands.command(help=f"Trust a tainted {noun} no more: what it signed is refused.")
    def revoke(authority_id: AuthorityArgument, reason: ReasonOption, config: ConfigOption = DEFAULT_CONFIG) -> None:
        loaded, authority = _open(config)
        _tell(loaded, authority.revoke(kind, authority_id), reason)

    prepare_help = f"Make and publish the next {noun}; one that is prepared already is replaced."
    if kind == "x509":

        @commands.command(help=prepare_help)
        def prepare(
            reason: ReasonOption,
            new_root: Annotated[
                bool, typer.Option("--new-root", help="Below a new root; else below that of the active one.")
            ] = False,
            config: ConfigOption = DEFAULT_CONFIG,
        ) -> None:
            loaded, authority = _open(config)
            _tell(loaded, authority.prepare("x509", new_root=new_root), reason)

    else:

        @commands.command("prepare", help=prepare_help)
        def prepare_key(reason: ReasonOption, config: ConfigOption = DEFAULT_CONFIG) -> None:
            loaded, authority = _open(config)
            _tell(loaded, authority.prepare("jwt"), reason)


_commands("x509", "signing authority", "Signing authorities of X.509-SVIDs.")
_commands("jwt", "JWT key", "Keys of JWT-SVIDs.")


def _open(config: ConfigOption) -> tuple[GatewayConfig, Authority]:
    loaded = load_config(config)
    return loaded, open_authority(loaded)


def _tell(config: GatewayConfig, event: AuthorityEvent, reason: str) -> None:
    fields = {"kind": event.kind, "authority": event.authority_id, "detail": event.detail, "cause": reason}
    record(config, f"authority.{event.action}", fields)
    say(f"The {event.kind} authority {event.authority_id} is {event.action}. {_HOLDERS}")
    if event.detail:
        say(f"Note: {event.detail}.")


def _show(kind: Kind, view: AuthorityView, json: bool) -> None:
    records = view.x509 if kind == "x509" else view.jwt
    if json:
        print_json(
            {
                "trust_domain": view.trust_domain,
                "bundle_sequence": view.sequence,
                "authorities": [_members(each) for each in records],
                "revoked": list(view.revoked),
            }
        )
        return
    print_table(
        ["authority", "state", "tainted", "valid from", "valid until", "key", "root"],
        (
            [
                each.authority_id,
                each.state,
                "yes" if each.tainted else "no",
                when(each.not_before),
                when(each.not_after),
                each.key_type,
                each.root_id[:16],
            ]
            for each in records
        ),
        empty="There is no authority of this kind.",
    )
    for authority_id in view.revoked:
        say(f"Revoked: {authority_id}")


def _members(each: AuthorityRecord) -> dict[str, object]:
    members: dict[str, object] = {
        "id": each.authority_id,
        "state": each.state,
        "tainted": each.tainted,
        "not_before": each.not_before,
        "not_after": each.not_after,
        "prepared_at": each.prepared_at,
        "key_type": each.key_type,
    }
    return {**members, "root": each.root_id} if each.root_id else members
