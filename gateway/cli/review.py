"""govctl agent findings and review: what is wrong with the inventory, and campaigns that set it right."""

import csv
import io
import json as json_format
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.app import configured_policies
from gateway.authorization.policy_set import LoadedPolicySet
from gateway.cli.acting import IdArgument, ReasonOption, inventory, moment, now, operator, record, span
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, print_json, print_table, say, when
from identity.findings import FINDINGS, Permission, Rules, find
from identity.registry import DECISIONS, Agent, Campaign, ReviewItem

app = typer.Typer(help="Access reviews: is each identity still needed?", no_args_is_help=True)

_Name = Annotated[str, typer.Argument(metavar="REVIEW", help="Name of the review.")]


def findings(
    only: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(FINDINGS)}. Repeatable.")] = None,
    owners: Annotated[
        Path | None, typer.Option(help="File of known owners, one a line; default: data.govgateway.owners.")
    ] = None,
    dormant: Annotated[str, typer.Option(help="Without a call for so long, it is dormant.")] = "30d",
    expiring: Annotated[str, typer.Option(help="What ends within so long is expiring.")] = "14d",
    observation: Annotated[str, typer.Option(help="Unused permissions count after so long.")] = "14d",
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Find identities that are dormant, orphaned, over-privileged, expiring, unreviewed or unknown."""
    unknown = sorted(set(only or ()) - set(FINDINGS))
    if unknown:
        fail(f"there is no finding {', '.join(unknown)}; findings are: {', '.join(FINDINGS)}.")
    rules = Rules(
        dormant=span("--dormant", dormant),
        expiring=span("--expiring", expiring),
        observation=span("--observation", observation),
    )
    loaded, opened = inventory(config)
    policies = configured_policies(loaded)
    data: dict[str, Any] = json_format.loads(policies.data_json).get("govgateway", {})
    with opened as registry:
        contents, usage = registry.contents(), registry.usage.all()
    found = find(
        contents.agents,
        usage,
        {agent.id: _permissions(agent, policies, data.get("roles", {})) for agent in contents.agents},
        now(),
        owners=_owners(owners, data),
        entries=contents.entries,
        rules=rules,
    )
    shown = [each for each in found if not only or each.finding in only]
    if json:
        print_json([asdict(each) for each in shown])
    else:
        print_table(
            ["finding", "SPIFFE ID", "what", "remedy"],
            ([each.finding, each.id, each.detail, each.remedy] for each in shown),
            empty="Nothing was found.",
        )


@app.command()
def start(
    name: _Name,
    deadline: Annotated[str, typer.Option(help="Until when decisions are taken: a date, or 14d.")],
    team: Annotated[str, typer.Option(help="Only identities of this team.")] = "",
    owner: Annotated[str, typer.Option(help="Only identities of this owner.")] = "",
    environment: Annotated[str, typer.Option(help="Only identities of this environment.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Start a review of all identities, or of those named."""
    loaded, opened = inventory(config)
    with opened as registry:
        asked = [
            agent.id
            for agent in registry.all()
            if team in {"", agent.team} and owner in {"", agent.owner} and environment in {"", agent.environment}
        ]
        campaign = registry.reviews.start(name, moment("--deadline", deadline), asked, by=operator())
        items = registry.reviews.items(name)
    record(loaded, "review.started", {"review": name, "deadline": campaign.deadline, "identities": len(items)})
    if json:
        print_json(_view(campaign, items))
    else:
        say(f"Review {name}: {len(items)} identities to decide on until {when(campaign.deadline)}.")
        say(f"Next: govctl agent review decide {name} SPIFFE-ID --decision {'|'.join(DECISIONS)} --reason WHY")


@app.command("list")
def list_reviews(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """List the reviews and how far they are."""
    _, opened = inventory(config)
    with opened as registry:
        reviews = [(campaign, registry.reviews.items(campaign.name)) for campaign in registry.reviews.all()]
    if json:
        print_json([_view(campaign, items) for campaign, items in reviews])
    else:
        print_table(
            ["review", "deadline", "identities", "undecided", "state"],
            (
                [c.name, when(c.deadline), len(items), sum(not i.decision for i in items), _state(c, items)]
                for c, items in reviews
            ),
            empty="There is no review yet: govctl agent review start",
        )


@app.command()
def decide(
    name: _Name,
    spiffe_id: IdArgument,
    decision: Annotated[str, typer.Option(help=f"One of {', '.join(DECISIONS)}.")],
    reason: ReasonOption,
    next_review: Annotated[str, typer.Option("--next", help="When the next review is due: a date, or 180d.")] = "180d",
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Decide on one identity; suspending and retiring it happens at once."""
    loaded, opened = inventory(config)
    with opened as registry:
        due = moment("--next", next_review)
        before = registry.get(spiffe_id)
        item = registry.reviews.decide(name, spiffe_id, decision, reason, due, by=operator())
        agent = registry.get(item.id)
    record(loaded, "review.decided", {"review": name, "agent": item.id, "review_decision": decision, "cause": reason})
    if agent.status != before.status:
        fields = {"agent": agent.id, "status": agent.status, "cause": agent.status_reason}
        record(loaded, "agent.status_changed", fields)
    if json:
        print_json(asdict(item))
    else:
        say(f"{item.id}: {decision}.")


@app.command()
def close(name: _Name, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Close a review. What nobody decided on stays as it is, and is shown as undecided."""
    loaded, opened = inventory(config)
    with opened as registry:
        items = registry.reviews.close(name, by=operator())
        campaign = registry.reviews.get(name)
    undecided = [item.id for item in items if not item.decision]
    record(loaded, "review.closed", {"review": name, "identities": len(items), "undecided": len(undecided)})
    if json:
        print_json(_view(campaign, items))
        return
    say(f"Review {name} is closed: {len(items) - len(undecided)} of {len(items)} decided.")
    for spiffe_id in undecided:
        say(f"  undecided: {spiffe_id}")


@app.command()
def export(name: _Name, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Print a review with all its decisions as CSV, or JSON."""
    _, opened = inventory(config)
    with opened as registry:
        campaign, items = registry.reviews.get(name), registry.reviews.items(name)
        agents = {agent.id: agent for agent in registry.all()}
    if json:
        print_json(_view(campaign, items))
        return
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["review", "id", "owner", "team", "status", "decision", "by", "at", "reason"])
    for item in items:
        agent = agents[item.id]
        at = when(item.at) if item.at else ""
        decision = item.decision or ("undecided at the deadline" if item.overdue else "undecided")
        row = [name, item.id, agent.owner, agent.team, agent.status, decision, item.by, at, item.reason]
        table.writerow([_harmless(cell) for cell in row])
    typer.echo(text.getvalue(), nl=False)


def _harmless(cell: str) -> str:
    """Keep a spreadsheet from taking a text for a formula."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def _permissions(agent: Agent, policies: LoadedPolicySet, roles: dict[str, Any]) -> list[Permission]:
    return [
        Permission(role, tuple(permission["actions"]), tuple(permission["resources"]))
        for role in policies.roles_of(agent.id, agent.team, agent.kind, now=now())
        for permission in roles[role]["permissions"]
    ]


def _owners(file: Path | None, data: dict[str, Any]) -> list[str] | None:
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            fail(f"the file of owners {file} cannot be read: {error}")
        return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    owners = data.get("owners")
    return list(owners) if owners else None


def _state(campaign: Campaign, items: list[ReviewItem]) -> str:
    if campaign.closed_at:
        return "closed"
    return "overdue" if any(item.overdue for item in items) else "open"


def _view(campaign: Campaign, items: list[ReviewItem]) -> dict[str, Any]:
    return {**asdict(campaign), "state": _state(campaign, items), "items": [asdict(item) for item in items]}
