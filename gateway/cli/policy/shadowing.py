"""govctl policy shadow: a candidate revision beside the active one on live calls."""

from typing import Annotated, Any

import typer

from gateway.authorization.bundle import write_bundle
from gateway.authorization.policy_set import load_policy_set
from gateway.authorization.policy_tree import read_policy_tree
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, print_json, print_table, say
from gateway.cli.policy.activating import BundleArgument, read_bundle_file
from gateway.cli.policy.base import app
from gateway.config import load_config
from gateway.local_control import ask

shadow = typer.Typer(
    help="A candidate that decides beside the active revision on live calls; nobody obeys it.", no_args_is_help=True
)
app.add_typer(shadow, name="shadow")


@shadow.command()
def start(bundle: BundleArgument, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Watch the revision in BUNDLE, or the policies in a directory."""
    loaded = load_config(config)
    if bundle.is_dir():
        policies = load_policy_set(bundle)
        content = write_bundle(read_policy_tree(bundle), policies.manifest)
    else:
        content = read_bundle_file(bundle)
    answer = ask(loaded.state_dir, "policy.shadow.start", {"source": str(bundle.resolve())}, content)
    if json:
        print_json(answer)
    else:
        say(f"Revision {answer['revision']} decides beside the active one. See: govctl policy shadow show")


@shadow.command()
def show(
    config: ConfigOption = DEFAULT_CONFIG,
    count: Annotated[int, typer.Option("-n", min=1, help="How many kinds of difference.")] = 20,
    json: JsonOption = False,
) -> None:
    """Show what the candidate decides otherwise."""
    report = ask(load_config(config).state_dir, "policy.shadow.show")
    if json:
        print_json(report)
    else:
        _print(report, count)


@shadow.command()
def stop(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Stop watching, and show what was seen."""
    report = ask(load_config(config).state_dir, "policy.shadow.stop")
    if json:
        print_json(report)
    else:
        _print(report, 20)


@shadow.command()
def promote(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Activate the candidate, by the same rules as any other revision."""
    answer = ask(load_config(config).state_dir, "policy.shadow.promote")
    if json:
        print_json(answer)
    else:
        say(f"Active: revision {answer['revision']} (bundle {answer['digest'][:12]}).")


def _print(report: dict[str, Any], count: int) -> None:
    changes = ", ".join(f"{number} {name}" for name, number in sorted(report["changes"].items())) or "none"
    say(f"Revision {report['revision']}: {report['decided']} calls decided by both; different: {changes}.")
    if report["skipped"] or report["malformed"]:
        say(f"{report['skipped']} calls were left out, {report['malformed']} it could not decide.")
    print_table(
        ["calls", "change", "caller", "action", "resource", "reason"],
        (
            [each["count"], each["change"], each["principal"], each["action"], each["resource"], each["reason"]]
            for each in report["differences"][:count]
        ),
        empty="No difference so far.",
    )
