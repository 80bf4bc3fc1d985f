"""govctl approve: calls that the policies hold back for a person, looked at, granted and refused."""

from typing import Annotated, Any

import typer

from gateway.app import open_oversight
from gateway.approvals.showing import approval_view
from gateway.cli.acting import ReasonOption
from gateway.cli.control_plane import ControlPlane, GatewayOption, IdentityOption
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, print_json, print_table, say, when
from gateway.clock import system_clock
from gateway.config import load_config
from gateway.people import says_something

app = typer.Typer(help="Calls that wait for a person: look at them, grant or refuse them.", no_args_is_help=True)

_Id = Annotated[str, typer.Argument(metavar="APPROVAL", help="Id of the request, as the refused call was told.")]


@app.command("list")
def list_approvals(
    every: Annotated[bool, typer.Option("--all", help="Also those that were used, refused or have expired.")] = False,
    identity: IdentityOption = None,
    gateway: GatewayOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """List the requests; without --identity from the state directory of this machine."""
    if identity is not None:
        plane = ControlPlane(identity, gateway, config)
        found = plane.get("oversight", "approvals", query="?every=true" if every else "")
    else:
        now = system_clock()
        store = open_oversight(load_config(config))
        found = [approval_view(each, now) for each in store.all(open_at_ns=0 if every else now)]
    if json:
        print_json(found)
        return
    print_table(
        ["approval", "state", "caller", "action", "on", "system", "asked", "until"],
        (
            [
                each["approval"],
                _state(each),
                each["principal"],
                each["action"],
                each["resource"]["id"],
                each["system"],
                when(each["requested_at"]),
                when(each["expires_at"]),
            ]
            for each in found
        ),
        empty="No call waits for a person.",
    )


@app.command()
def show(
    approval: _Id,
    identity: IdentityOption = None,
    gateway: GatewayOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Show one request: who asks for what, and who decided."""
    if identity is not None:
        view = ControlPlane(identity, gateway, config).get("oversight", "approvals", approval)
    else:
        found = open_oversight(load_config(config)).get(approval)
        if found is None:
            fail(f"there is no request for approval {approval}; list them with: govctl approve list")
        view = approval_view(found, system_clock())
    if json:
        print_json(view)
        return
    say(f"{view['approval']} is {_state(view)}, until {when(view['expires_at'])}.")
    say(f"{view['principal']} (owner {view['owner']}) asked at {when(view['requested_at'])}:")
    say(f"  {view['action']} on {view['resource']['id']}, AI system {view['system']}, {view['operation']}")
    say(f"  {view['request']['bytes']} bytes, digest {view['request']['digest']}")
    for each in view["delegation"]:
        say(f"  on behalf of {each}")
    for each in view["verdicts"]:
        verb = "approved" if each["approve"] else "refused"
        say(f"{each['by']} {verb} at {when(each['at'])}: {each['reason']}")


@app.command()
def grant(
    approval: _Id,
    reason: ReasonOption,
    identity: IdentityOption = None,
    gateway: GatewayOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Approve a call: the same request of the same caller passes once, before the request expires."""
    view = _decide(approval, "grant", reason, ControlPlane(identity, gateway, config))
    if json:
        print_json(view)
    elif view["approvals_missing"]:
        say(f"Approved by you; {view['approvals_missing']} more person has to approve {approval}.")
    else:
        say(f"Granted: {view['principal']} may make the call once, before {when(view['expires_at'])}.")


@app.command()
def refuse(
    approval: _Id,
    reason: ReasonOption,
    identity: IdentityOption = None,
    gateway: GatewayOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Refuse a call, or take an approval back that was not used yet."""
    view = _decide(approval, "refuse", reason, ControlPlane(identity, gateway, config))
    if json:
        print_json(view)
    else:
        say(f"Refused: {view['principal']} may not make the call.")


def _decide(approval: str, how: str, reason: str, plane: ControlPlane) -> dict[str, Any]:
    if not says_something(reason):
        fail("a decision needs a reason; it goes to the log.")
    answer: dict[str, Any] = plane.post("oversight", "approvals", approval, how, body={"reason": reason})
    return answer


def _state(view: dict[str, Any]) -> str:
    missing = view["approvals_missing"]
    return f"pending ({missing} missing)" if view["state"] == "pending" and missing else str(view["state"])
