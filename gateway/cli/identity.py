"""govctl identity: identities and entries as a file, planned before it is applied."""

from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from gateway.cli.acting import inventory, operator, record
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, print_json, say, when
from gateway.config import GatewayConfig
from gateway.config.yaml_file import read_yaml
from gateway.inventory_records import within_room
from identity.errors import ManifestError
from identity.manifest import Change, Manifest, Plan, export, parse
from identity.manifest import apply as apply_plan
from identity.manifest import plan as make_plan

app = typer.Typer(help="Identities and entries as a file.", no_args_is_help=True)

_File = Annotated[Path, typer.Option("--file", "-f", help="File of identities and entries (YAML).")]
_Prune = Annotated[
    bool, typer.Option("--prune", help="Also delete entries and retire identities that the file does not name.")
]

_SIGNS = {"create": "+", "update": "~", "delete": "-"}


@app.command("plan")
def plan_file(
    file: _File, prune: _Prune = False, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False
) -> None:
    """Show what applying a file would change; exit status 0: nothing, 2: something, 1: the file cannot be used."""
    loaded, opened = inventory(config)
    with opened as registry:
        plan = make_plan(registry.contents(), _read(file, loaded), prune=prune)
    _show(plan, json)
    if plan.changes:
        raise typer.Exit(2)


@app.command()
def apply(
    file: _File,
    prune: _Prune = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Show what a file changes, ask, and change it: all of it or nothing."""
    if json and not yes:
        fail("with --json nobody can be asked; add --yes, or look first with: govctl identity plan")
    loaded, opened = inventory(config)
    with opened as registry:
        plan = make_plan(registry.contents(), _read(file, loaded), prune=prune)
        _show(plan, json)
        if not plan.changes:
            return
        if not yes and not typer.confirm("Apply these changes?"):
            fail("nothing was changed.")
        apply_plan(registry, plan, by=operator())
    counts = Counter(change.action for change in plan.changes)
    changes, left_out = within_room([f"{each.action} {each.kind} {each.name}" for each in plan.changes])
    record(
        loaded,
        "identity.applied",
        {
            "file_sha256": sha256(file.read_bytes()).hexdigest(),
            "prune": prune,
            **{action: counts[action] for action in _SIGNS},
            "changes": changes,
            "changes_left_out": left_out,
        },
    )
    if not json:
        say("Applied; running gateways act on it within a second.")


@app.command("export")
def export_file(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Print the identities and entries as a file that 'govctl identity apply' takes."""
    _, opened = inventory(config)
    with opened as registry:
        contents = registry.contents()
    document = export(contents.agents, contents.entries)
    if json:
        print_json(document)
    else:
        typer.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)


def _read(file: Path, config: GatewayConfig) -> Manifest:
    try:
        return parse(read_yaml(file), config.trust_domain, [each.trust_domain for each in config.identity.federated])
    except ManifestError as error:
        lines = str(error).splitlines()
        raise ManifestError(
            "\n".join([f"{file} has {len(lines)} problem{'s'[: len(lines) != 1]}:", *(f"  {line}" for line in lines)])
        ) from None


def _show(plan: Plan, json: bool) -> None:
    if json:
        print_json(
            {
                "generation": plan.generation,
                "changes": [_view(change) for change in plan.changes],
                "unchanged": plan.unchanged,
                "left_alone": plan.left_alone,
            }
        )
        return
    for change in plan.changes:
        verb = "retire" if (change.action, change.kind) == ("delete", "agent") else change.action
        say(f"{_SIGNS[change.action]} {verb} {change.kind} {change.name}")
        for field in change.fields:
            arrow = f"{_told(field.name, field.before)} -> " if change.action == "update" else ""
            say(f"    {field.name}: {arrow}{_told(field.name, field.after)}")
    for name in plan.left_alone:
        say(f"  not in the file, left alone: {name}")
    counts = Counter(change.action for change in plan.changes)
    say(
        f"{counts['create']} to create, {counts['update']} to update, {counts['delete']} to delete; "
        f"{plan.unchanged} unchanged."
    )


def _view(change: Change) -> dict[str, Any]:
    return {
        "action": change.action,
        "kind": change.kind,
        "key": change.key,
        "name": change.name,
        "fields": {
            field.name: {"before": _plain(field.before), "after": _plain(field.after)} for field in change.fields
        },
    }


def _told(name: str, value: Any) -> str:
    if name in {"review_due", "expires_at"}:
        return when(value) if value else "never"
    return repr(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(value)
    return list(value) if isinstance(value, tuple) else value
