"""govctl oversight: stop an AI system, let it be called again, exercise that, and say which output was not followed."""

from typing import Annotated, Any

import typer

from gateway.app import open_audit_store, open_oversight
from gateway.approvals.deciding import Halting, check_known
from gateway.approvals.overriding import How
from gateway.approvals.overriding import override as override_call
from gateway.approvals.showing import stop_view
from gateway.cli.acting import ReasonOption, operator, record
from gateway.cli.control_plane import ControlPlane, GatewayOption, IdentityOption
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, print_json, print_table, say, when
from gateway.clock import system_clock
from gateway.config import GatewayConfig, load_config
from gateway.local_control import ask

app = typer.Typer(help="Human oversight: stop AI systems, exercise it, record overrides.", no_args_is_help=True)

_System = Annotated[str, typer.Argument(metavar="SYSTEM", help="AI system of the register.")]


@app.command()
def stop(
    system: _System,
    reason: ReasonOption,
    identity: IdentityOption = None,
    gateway: GatewayOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Stop a system: its new calls are refused, its answers under way cut, within a second."""
    if identity is not None:
        body = {"system": system, "reason": reason}
        view = ControlPlane(identity, gateway, config).post("oversight", "stops", body=body)
    else:
        loaded = load_config(config)
        check_known(system, [model.system for model in loaded.models])
        view = stop_view(_halting(loaded).stop(system, operator(), reason))
    if json:
        print_json(view)
    else:
        say(f"{system} is stopped. It is called again after: govctl oversight resume {system} --reason …")


@app.command()
def resume(
    system: _System,
    reason: ReasonOption,
    identity: IdentityOption = None,
    gateway: GatewayOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Let a stopped system be called again."""
    if identity is not None:
        body = {"system": system, "reason": reason}
        view = ControlPlane(identity, gateway, config).post("oversight", "resumptions", body=body)
    else:
        view = stop_view(_halting(load_config(config)).resume(system, operator(), reason))
    if json:
        print_json(view)
    else:
        say(f"{system} can be called again; it was stopped since {when(view['since'])}.")


@app.command("list")
def list_stops(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """List the systems that are stopped."""
    found = [stop_view(each) for each in open_oversight(load_config(config)).stops().values()]
    if json:
        print_json(found)
        return
    print_table(
        ["system", "since", "by", "reason"],
        ([each["system"], when(each["since"]), each["by"], each["reason"]] for each in found),
        empty="No AI system is stopped.",
    )


@app.command()
def drill(
    system: _System,
    reason: ReasonOption,
    identity: IdentityOption = None,
    gateway: GatewayOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Stop a system for real until every worker refuses its calls, then resume it; exit status 1 if one did not.

    Calls of the system that come or run in that moment are refused or cut.
    """
    body = {"system": system, "reason": reason}
    if identity is not None:
        result = ControlPlane(identity, gateway, config).post("oversight", "drills", body=body)
    else:
        result = ask(load_config(config).state_dir, "oversight.drill", body)
    if json:
        print_json(result)
    elif result["passed"]:
        say(f"Passed: {result['workers']} workers refused {system} after {result['milliseconds']} ms; it is resumed.")
    else:
        say(f"Failed: only {result['workers']} workers refused {system} in time; it is resumed.")
    if not result["passed"]:
        raise typer.Exit(1)


@app.command()
def override(
    call: Annotated[str, typer.Argument(metavar="CALL", help="Event id of the call: its x-request-id.")],
    how: Annotated[How, typer.Option(help="What a person did with the output.")],
    reason: ReasonOption,
    identity: IdentityOption = None,
    gateway: GatewayOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Put on record that a person did not follow the output of a call."""
    if identity is not None:
        body = {"call": call, "how": how, "reason": reason}
        fields = ControlPlane(identity, gateway, config).post("oversight", "overrides", body=body)
    else:
        loaded = load_config(config)

        def write(kind: str, said: dict[str, Any]) -> None:
            record(loaded, kind, said)

        fields = override_call(open_audit_store(loaded), write, call, how, operator(), reason)
    if json:
        print_json(fields)
    else:
        say(f"On record: the output of {call} ({fields['agent']}) was {how}.")


def _halting(config: GatewayConfig) -> Halting:
    return Halting(open_oversight(config), lambda kind, fields: record(config, kind, fields), system_clock)
