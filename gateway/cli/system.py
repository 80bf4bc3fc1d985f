"""govctl system: the register of AI systems, which is the table `systems` of the policies."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from typing import Annotated, Any

import orjson
import typer

from compliance.register import Register, differences, load_register, remarks
from gateway.app import configured_policies
from gateway.authorization.policy_set import LoadedPolicySet
from gateway.cli.acting import now
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, print_json, print_table, say, when
from gateway.cli.policy.base import DirectoryArgument
from gateway.cli.policy.reviewed import NAMES, open_revision
from gateway.config import load_config
from gateway.evidence import policies_in_force

app = typer.Typer(help="The register of AI systems: what is declared of each.", no_args_is_help=True)


@app.command("list")
def list_systems(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """List the AI systems of the register in force."""
    register = _register(policies_in_force(load_config(config)))
    if json:
        print_json({name: _written(register, name) for name in sorted(register.systems)})
        return
    rows = [
        (name, each.effective_risk, ", ".join(each.roles) or "not said", each.owner, _line(each.description))
        for name, each in sorted(register.systems.items())
    ]
    print_table(["SYSTEM", "RISK", "WE ARE", "OWNER", "DESCRIPTION"], rows, empty="The register has no AI system.")


@app.command()
def show(
    system: Annotated[str, typer.Argument(help="Its name in the register.")],
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Show what the register in force says of an AI system."""
    register = _register(policies_in_force(load_config(config)))
    entry = register.get(system)
    written = _written(register, system)
    if json:
        print_json(written)
        return
    say(f"{system}: {entry.effective_risk} risk")
    print_table(["KEY", "VALUE"], _flat("", written), empty="The entry says nothing.")


@app.command()
def check(
    directory: DirectoryArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    strict: Annotated[bool, typer.Option("--strict", help="Exit status 1 for warnings, too.")] = False,
    json: JsonOption = False,
) -> None:
    """Look for what the register lacks, understates or contradicts; exit status 1 if something is wrong."""
    settings = load_config(config)
    register = _register(open_revision(str(directory)).policies if directory else configured_policies(settings))
    models = {each.name: each.system for each in settings.models}
    found = remarks(register, date.fromisoformat(when(now())[:10]), models)
    errors = [each for each in found if each.level == "error"]
    good = not errors and not (strict and found)
    if json:
        print_json(
            {
                "ok": good,
                "remarks": [
                    {
                        "level": each.level,
                        "system": each.system,
                        "key": each.key,
                        "says": each.says,
                        "source": each.source,
                    }
                    for each in found
                ],
            }
        )
    else:
        rows = [(each.level, each.system, each.key, each.says, each.source) for each in found]
        print_table(["LEVEL", "SYSTEM", "KEY", "SAYS", "SOURCE"], rows, empty="Nothing is missing.")
        say(f"{len(register.systems)} AI systems, {len(errors)} errors, {len(found) - len(errors)} warnings.")
    raise typer.Exit(0 if good else 1)


@app.command()
def diff(
    base: Annotated[str, typer.Argument(help=f"The earlier revision: {NAMES}.")],
    candidate: Annotated[str, typer.Argument(help="The later one.")],
    json: JsonOption = False,
) -> None:
    """Say what changed in the register between two revisions of the policies, key by key."""
    found = differences(_register(open_revision(base).policies), _register(open_revision(candidate).policies))
    if json:
        print_json([asdict(each) for each in found])
        return
    rows = [
        (each.system, each.key or "(whole entry)", each.kind, _value(each.before), _value(each.after)) for each in found
    ]
    print_table(["SYSTEM", "KEY", "CHANGE", "BEFORE", "AFTER"], rows, empty="The register is the same.")


def _register(policies: LoadedPolicySet) -> Register:
    return load_register(orjson.loads(policies.data_json).get("govgateway", {}))


def _written(register: Register, system: str) -> dict[str, Any]:
    written: dict[str, Any] = (register.tables.get("systems") or {})[system]
    return written


def _flat(prefix: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        rows: list[tuple[str, str]] = []
        for name in value:
            rows += _flat(f"{prefix}.{name}" if prefix else str(name), value[name])
        return rows
    return [(prefix, _value(value))]


def _value(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _line(text: str) -> str:
    return " ".join(text.split())
