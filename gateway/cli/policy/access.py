"""govctl policy who-can, what-can and matrix: who may do what, decided for every registered identity."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from gateway.authorization.policy_data_base import did_you_mean
from gateway.authorization.policy_data_roles import ACTIONS
from gateway.cli.acting import IdArgument, inventory, now
from gateway.cli.output import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    errors,
    fail,
    print_json,
    print_table,
    say,
    when,
)
from gateway.cli.policy.base import app, embedded_policies
from gateway.errors import ConfigError
from gateway.policyreview.access import Access, Accesses
from gateway.policyreview.inert import plain
from gateway.policyreview.matrix import matrix_csv, matrix_html, matrix_json
from gateway.policyreview.questions import Questions
from identity.registry import Agent


class MatrixFormat(StrEnum):
    """How the matrix is written."""

    TERMINAL = "terminal"
    CSV = "csv"
    HTML = "html"
    JSON = "json"


@app.command("who-can")
def who_can(
    action: Annotated[str, typer.Argument(help="For instance model.infer, or admin.policy.activate.")],
    resource: Annotated[str, typer.Argument(help="A model, or a route of the control plane.")],
    config: ConfigOption = DEFAULT_CONFIG,
    allowed_only: Annotated[bool, typer.Option("--allowed-only", help="Leave out who may not.")] = False,
    json: JsonOption = False,
) -> None:
    """List who may do ACTION on RESOURCE, and why others may not."""
    _check_action(action)
    accesses, agents = _open(config)
    found = accesses.who_can(agents, action, resource)
    shown = [each for each in found if each.allow or not allowed_only]
    if json:
        print_json([each.document() for each in shown])
        return
    rows = ([_name(each.principal.id), plain(each.principal.team), *_answer(each)] for each in shown)
    print_table(["principal", "team", "may", "how, or why not"], rows, empty="Nobody is registered who may.")


@app.command("what-can")
def what_can(spiffe_id: IdArgument, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """List what an identity may do: every model, and whatever else its roles name."""
    accesses, agents = _open(config)
    agent = next((each for each in agents if each.id == spiffe_id), None)
    if agent is None:
        raise ConfigError(f"{plain(spiffe_id)} is not registered; see: govctl agent list")
    found = accesses.what_can(agent)
    if json:
        print_json([each.document() for each in found])
        return
    rows = ([each.action, plain(each.resource), *_answer(each)] for each in found)
    print_table(["action", "resource", "may", "how, or why not"], rows, empty="There is no model and no role.")


@app.command()
def matrix(
    config: ConfigOption = DEFAULT_CONFIG,
    form: Annotated[MatrixFormat, typer.Option("--format", help="How it is written.")] = MatrixFormat.TERMINAL,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write it to.")] = None,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Show who may use which model, for access reviews."""
    if json:
        if form not in {MatrixFormat.TERMINAL, MatrixFormat.JSON}:
            fail(f"--json and --format {form} exclude each other.", code=2)
        form = MatrixFormat.JSON
    if out is not None and form is MatrixFormat.TERMINAL:
        fail("--out goes with --format csv, html or json.", code=2)
    accesses, agents = _open(config)
    columns = accesses.columns()
    rows = list(track(accesses.matrix(agents), "Deciding", len(agents), console=errors, transient=True))
    policies = accesses.questions.policies
    match form:
        case MatrixFormat.CSV:
            text = matrix_csv(rows, columns)
        case MatrixFormat.HTML:
            text = matrix_html(rows, columns, policies.revision, policies.data_digest, when(accesses.questions.now))
        case MatrixFormat.JSON:
            text = matrix_json(rows, policies.revision, policies.data_digest, when(accesses.questions.now))
        case MatrixFormat.TERMINAL:
            shown = ([_name(row[0].principal.id), *("yes" if each.allow else "-" for each in row)] for row in rows)
            heads = [f"{plain(model)} {action.removeprefix('model.')}" for model, action in columns]
            print_table(["principal", *heads], shown, empty="Nobody is registered.")
            return
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror}.") from error
    say(f"{len(rows)} principals and {len(columns)} columns are in {out}.")


def _open(config: Path) -> tuple[Accesses, list[Agent]]:
    loaded, opened = inventory(config)
    with opened as registry:
        snapshot = registry.snapshot(entries=False)
    agents = sorted(snapshot.agents.values(), key=lambda each: each.id)
    return Accesses(Questions(loaded, embedded_policies(loaded), now()), snapshot), agents


def _check_action(action: str) -> None:
    if action not in ACTIONS and not action.startswith("admin."):
        fail(f"there is no action {plain(action)!r}; {did_you_mean(action, ACTIONS, 'actions')}, or admin.…", code=2)


def _answer(access: Access) -> tuple[str, str]:
    return "yes" if access.allow else "no", plain(access.how, 500)


def _name(spiffe_id: str) -> str:
    return plain(spiffe_id, 2048)
