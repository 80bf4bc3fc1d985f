"""govctl quota: where an identity stands."""

import asyncio

import typer

from gateway.app import configured_policies, open_registry, read_ledger
from gateway.cli.acting import IdArgument
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, print_json, print_table
from gateway.config import load_config
from gateway.quota.limits import LimitTable

app = typer.Typer(help="Quotas of identities.", no_args_is_help=True)


@app.command()
def show(spiffe_id: IdArgument, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Show every limit that counts this identity's calls, and what is left of it now."""
    loaded = load_config(config)
    registry = open_registry(loaded)
    agent = registry.get(spiffe_id)
    registry.close()
    limits = LimitTable.from_data(configured_policies(loaded).limits()).for_principal(agent.id, agent.team, agent.kind)
    ledger = read_ledger(loaded)
    standings = asyncio.run(ledger.standings(limits))
    ledger.close()
    if json:
        print_json(
            [
                {
                    "name": s.limit.name,
                    "unit": s.limit.unit,
                    "window_seconds": s.limit.window_seconds,
                    "amount": s.limit.amount,
                    "used": s.limit.amount - s.remaining,
                    "remaining": s.remaining,
                    "reset_seconds": s.reset_seconds,
                }
                for s in standings
            ]
        )
        return
    print_table(
        ["limit", "allows", "used", "left", "whole again in"],
        (
            [
                s.limit.name,
                f"{s.limit.amount} {s.limit.unit}",
                s.limit.amount - s.remaining,
                s.remaining,
                f"{s.reset_seconds} s" if s.limit.window_seconds else "-",
            ]
            for s in standings
        ),
        empty=f"No limit counts the calls of {agent.id}.",
    )
