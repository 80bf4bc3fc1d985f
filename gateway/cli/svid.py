"""govctl svid: documents that prove an identity, for clients without the Workload API."""

from typing import Annotated

import typer

from gateway.app import open_authority
from gateway.cli import svid_fetch
from gateway.cli.acting import IdArgument, inventory, record
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, print_json, say
from identity.spiffe_id import SpiffeId

app = typer.Typer(
    help="SVIDs for machines elsewhere and by hand; on the gateway's machine the Workload API gives them.",
    no_args_is_help=True,
)


@app.command()
def jwt(
    spiffe_id: IdArgument,
    audience: Annotated[list[str], typer.Option(help="Who the token is for; may be given several times.")],
    ttl: Annotated[int, typer.Option(min=10, max=3600, help="Lifetime in seconds.")] = 300,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Issue a JWT-SVID for a registered, active identity and print it alone on a line."""
    loaded, opened = inventory(config)
    with opened as registry:
        agent = registry.get(spiffe_id)
        if agent.status != "active":
            fail(f"{agent.id} is {agent.status}; only active identities get a token.")
        issuer = loaded.identity.endpoint.issuer
        claims = {"iss": issuer} if issuer else {}
        issued = open_authority(loaded).issue_jwt_svid(SpiffeId.parse(agent.id), audience, ttl, claims)
        registry.record_svid(issued.jti, agent.id, issued.expires_at, authority_id=issued.key_id)
    record(
        loaded,
        "identity.issued",
        {
            "agent": agent.id,
            "svid": "jwt-svid",
            "serial": issued.jti,
            "audience": audience,
            "not_after": issued.expires_at,
            "authority": issued.key_id,
        },
    )
    if json:
        print_json({"id": agent.id, "token": issued.token, "jti": issued.jti, "expires_at": issued.expires_at})
    else:
        say(issued.token)


app.command("fetch")(svid_fetch.fetch)
