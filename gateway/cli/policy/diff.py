"""govctl policy diff: what changed between two revisions, in the words of the policies."""

from typing import Annotated

import typer

from gateway.cli.output import JsonOption, console, print_json
from gateway.cli.policy.base import app
from gateway.cli.policy.reviewed import NAMES, open_revision
from gateway.policyreview.differences import differences
from gateway.policyreview.report_json import differences_document
from gateway.policyreview.report_markdown import differences_markdown
from gateway.policyreview.report_terminal import print_differences


@app.command()
def diff(
    base: Annotated[str, typer.Argument(help=f"The earlier revision: {NAMES}.")],
    candidate: Annotated[str, typer.Argument(help="The later one.")],
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a pull request.")] = False,
    json: JsonOption = False,
) -> None:
    """Compare two revisions: roles, permissions, subjects, systems, limits, reasons and rules."""
    changes = differences(open_revision(base), open_revision(candidate))
    if json:
        print_json(differences_document(changes))
    elif markdown:
        typer.echo(differences_markdown(changes), nl=False)
    else:
        print_differences(console, changes)
