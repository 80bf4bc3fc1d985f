"""govctl policy check."""

import re
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from gateway.app import open_registry
from gateway.authorization.policy_set import EngineName, LoadedPolicySet, load_policy_tree
from gateway.authorization.policy_tree import read_policy_tree
from gateway.cli.acting import now
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, print_json, say
from gateway.cli.policy.base import DirectoryArgument, EngineOption, app, policy_directory
from gateway.config import GatewayConfig, load_config
from gateway.errors import ConfigError
from gateway.policyreview.findings import Finding, count, in_order
from gateway.policyreview.inert import plain
from gateway.policyreview.lint import lint
from gateway.policyreview.lint_tools import opa_findings, regal_findings
from identity.registry import Agent

_PLACE = re.compile(r"(?P<file>.+?\.(?:rego|yaml|yml|json))(?::(?P<line>\d+))?(?::\d+)?: (?P<message>.+)", re.DOTALL)


@app.command()
def check(
    directory: DirectoryArgument = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit status 1 for warnings, too.")] = False,
    with_opa: Annotated[bool, typer.Option("--with-opa", help="Have opa check --strict look at them, too.")] = False,
    engine: EngineOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Load the policies as the gateway would, then look for what is unused, hidden, repeated or unexplained."""
    configured = load_config(config) if directory is None else None
    directory, engine = policy_directory(directory, engine, config)
    policies, findings = _findings(directory, engine, configured)
    if with_opa:
        findings += opa_findings(directory)
    findings = in_order(findings)
    errors, warnings = count(findings, "error"), count(findings, "warning")
    good = not errors and not (strict and warnings)
    if json:
        print_json(
            {
                "ok": good,
                "revision": policies.revision if policies else None,
                "data_digest": policies.data_digest if policies else None,
                "directory": str(directory),
                "errors": errors,
                "warnings": warnings,
                "findings": [finding.document() for finding in findings],
            }
        )
    else:
        for finding in findings:
            _say(finding, directory)
        total = f"{errors} errors, {warnings} warnings, {count(findings, 'info')} remarks"
        verdict = f"The policies are good: revision {policies.revision}" if good and policies else "Not accepted"
        say(f"{verdict} ({total}).")
    if not good:
        raise typer.Exit(1)


def _findings(
    directory: Path, engine: EngineName, config: GatewayConfig | None
) -> tuple[LoadedPolicySet | None, list[Finding]]:
    """Return the policies, None if they do not load, and what there is to say about them."""
    tree = read_policy_tree(directory)
    try:
        policies = load_policy_tree(tree, engine=engine)
    except ConfigError as error:
        return None, [_refusal(line, directory) for line in str(error).splitlines() if line.strip()]
    systems = frozenset(model.system for model in config.models) if config else None
    principals = _registered(config) if config else ()
    found = lint(tree, policies, now=now(), systems=systems, principals=principals)
    return policies, [*found, *regal_findings(directory)]


def _registered(config: GatewayConfig) -> tuple[Agent, ...]:
    """Return who is in the inventory; nobody where there is none, as in a repository of policies."""
    if not (config.state_dir / "registry.sqlite").exists():  # opening it would make it
        return ()
    with closing(open_registry(config)) as registry:
        return registry.contents().agents


def _refusal(text: str, directory: Path) -> Finding:
    message = text.removeprefix(f"{directory}/").removeprefix(f"{directory}: ")
    place = _PLACE.fullmatch(message)
    file, line, message = (place["file"], int(place["line"] or 0), place["message"]) if place else ("", 0, message)
    return Finding("error", "load", file, line, message, "Correct it; the gateway refuses these policies.")


def _say(finding: Finding, directory: Path) -> None:
    place = plain(directory / finding.file, 1000) if finding.file else plain(directory, 1000)
    line = f":{finding.line}" if finding.line else ""
    text = plain(finding.message, 2000).rstrip(".")
    say(f"{place}{line}: {finding.severity}: {text}. {plain(finding.remedy, 500)} [{plain(finding.rule)}]")
