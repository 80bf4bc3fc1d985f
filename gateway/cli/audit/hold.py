"""govctl audit hold: legal holds, which keep records and sealed content whatever their age."""

from typing import Annotated, Any

import typer

from audit.retention import Covers, Hold
from gateway.cli.acting import ReasonOption, moment, operator, record
from gateway.cli.audit.base import app
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, print_json, print_table, say, when
from gateway.config import load_config
from gateway.retention import open_keeper

commands = typer.Typer(help="Legal holds: what they cover is not deleted.", no_args_is_help=True)
app.add_typer(commands, name="hold")


@commands.command("set")
def set_hold(
    reason: ReasonOption,
    system: Annotated[list[str] | None, typer.Option(help="Only records of this AI system. Repeatable.")] = None,
    principal: Annotated[list[str] | None, typer.Option(help="Only records that name this ID. Repeatable.")] = None,
    record_type: Annotated[
        list[str] | None, typer.Option("--type", help="Only records of this type. Repeatable.")
    ] = None,
    since: Annotated[str, typer.Option(help="Only records from this date or time on.")] = "",
    until: Annotated[str, typer.Option(help="Only records before this date or time.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="All records, those to come as well.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Set a legal hold on the records that meet every criterion given. It stands at once."""
    covers = Covers(
        tuple(record_type or ()),
        tuple(system or ()),
        tuple(principal or ()),
        moment("--since", since),
        moment("--until", until),
    )
    if (covers == Covers()) is not everything:
        fail("say what the hold covers (--system, --principal, --type, --since, --until), or --all alone.")
    if covers.until and covers.until <= covers.since:
        fail("--until has to be later than --since; as it stands the hold would cover nothing.")
    loaded = load_config(config)
    keeper, _ = open_keeper(loaded, lambda kind, fields: record(loaded, kind, fields))
    hold = keeper.set_hold(covers, operator(), reason)
    if json:
        print_json(_view(hold))
    else:
        say(f"Set the legal hold {hold.hold_id} on {_words(hold.covers)}.")


@commands.command()
def lift(
    hold_id: Annotated[str, typer.Argument(metavar="HOLD", help="Id of the hold.")],
    reason: ReasonOption,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Lift a legal hold. What it alone kept may be deleted from now on."""
    loaded = load_config(config)
    keeper, _ = open_keeper(loaded, lambda kind, fields: record(loaded, kind, fields))
    hold = keeper.lift_hold(hold_id, operator(), reason)
    if json:
        print_json(_view(hold))
    else:
        say(f"Lifted the legal hold {hold.hold_id} on {_words(hold.covers)}.")


@commands.command("list")
def list_holds(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """List the legal holds that stand."""
    loaded = load_config(config)
    keeper, _ = open_keeper(loaded, lambda kind, fields: record(loaded, kind, fields))
    holds = list(keeper.book().holds.values())
    if json:
        print_json([_view(hold) for hold in holds])
        return
    print_table(
        ["hold", "set", "by", "covers", "because"],
        ([h.hold_id, when(h.set_ns / 1e9), h.by, _words(h.covers), h.cause] for h in holds),
        empty="No legal hold stands.",
    )


def _words(covers: Covers) -> str:
    parts = [
        *(f"type {each}" for each in covers.types),
        *(f"system {each}" for each in covers.systems),
        *(f"principal {each}" for each in covers.principals),
        *([f"from {when(covers.since)}"] if covers.since else []),
        *([f"before {when(covers.until)}"] if covers.until else []),
    ]
    return ", ".join(parts) or "everything"


def _view(hold: Hold) -> dict[str, Any]:
    return {
        "hold": hold.hold_id,
        "covers": hold.covers.to_document(),
        "by": hold.by,
        "cause": hold.cause,
        "set_at": hold.set_ns // 1_000_000_000,
    }
