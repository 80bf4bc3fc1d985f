"""govctl token: join tokens, with which a node joins once."""

from typing import Annotated

import typer

from gateway.cli.acting import check_own, inventory, operator, record, span
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, print_json, say, when

app = typer.Typer(help="Join tokens of nodes.", no_args_is_help=True)


@app.callback()
def token() -> None:
    """Join tokens of nodes."""


@app.command()
def create(
    node: Annotated[str, typer.Option(metavar="SPIFFE-ID", help="SPIFFE ID that the node gets.")],
    ttl: Annotated[str, typer.Option(help="How long the token is good: 600s, 10m, 2h.")] = "10m",
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Make a token with which one node joins once. It is shown now and never again."""
    loaded, opened = inventory(config)
    check_own(loaded, node)
    with opened as registry:
        secret, expires_at = registry.join_tokens.create(node, span("--ttl", ttl), by=operator())
    record(loaded, "join_token.created", {"node": node, "expires_at": expires_at})
    if json:
        print_json({"token": secret, "node": node, "expires_at": expires_at})
    else:
        say(secret)
        say(f"Good for {node} until {when(expires_at)}, once. Only its hash is kept.")
