"""govctl policy check and test."""

import typer

from gateway.authorization.policy_set import load_policy_set
from gateway.authorization.rego_tests import run_rego_tests
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, print_json, print_table, say
from gateway.cli.policy.base import app
from gateway.config import load_config


@app.command()
def check(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Load the policies as the gateway would: syntax, data, builtins, entry point, default deny."""
    policies = load_policy_set(load_config(config).policy.directory)
    if json:
        print_json({"ok": True, "revision": policies.revision, "data_digest": policies.data_digest})
    else:
        say(f"The policies are good: revision {policies.revision}.")


@app.command("test")
def run_tests(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Run the Rego tests in the engine that decides; exit status 1 if one fails."""
    results = run_rego_tests(load_policy_set(load_config(config).policy.directory))
    failed = [result for result in results if not result.passed]
    if json:
        print_json([{"file": str(r.file), "name": r.name, "passed": r.passed, "detail": r.detail} for r in results])
    else:
        print_table(["file", "test", "why"], ([r.file, r.name, r.detail] for r in failed), empty="")
        say(f"{len(results) - len(failed)} of {len(results)} tests passed.")
    if failed or not results:
        raise typer.Exit(1)
