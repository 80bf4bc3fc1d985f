"""Times an impact report on 100,000 recorded decisions on two processes.

2,000 of them are different, or all, or all of them in something that the rules read, so that each is evaluated.

Run: python bench/policy_impact.py [--json FILE] [--jobs N]. Prints a table in Markdown; raw numbers go to the file.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import yaml

from gateway.authorization.input import model_input
from gateway.authorization.policy_tree import read_policy_tree
from gateway.policyreview.impact import assess
from gateway.policyreview.recorded import RecordedCall, chain_of, read_samples, sample_line
from gateway.policyreview.replay import ReplayOptions, cases_of, replay
from gateway.policyreview.report_markdown import impact_markdown
from gateway.policyreview.revisions import Revision, load_revision
from gateway.protocols.base import Call
from gateway.starter import starter_policies
from identity.registry import Agent

DECISIONS = 100_000
VARIANTS = ((2_000, False), (DECISIONS, False), (DECISIONS, True))
"""How many inputs are different, and whether in something that the rules read."""
BINDINGS = (100, 10_000)
NOW = 1_796_000_000
"""Any moment (UNIX seconds)."""

MODELS = ("example-chat", "example-small", "example-large", "other")


def revision(directory: Path, bindings: int, *, taken_away: bool) -> Revision:
    """Return the starter policies with this many bindings; if `taken_away`, a tenth of the agents lose theirs."""
    shutil.copytree(starter_policies(), directory)
    subjects = {
        f"spiffe://example.org/agent/a{number}": ["chat-user"]
        for number in range(bindings - 1)
        if not (taken_away and number % 10 == 0)
    }
    path = directory / "govgateway" / "bindings" / "data.yaml"
    path.write_text(yaml.safe_dump({**subjects, "team:platform": ["platform-admin"]}))
    return load_revision(read_policy_tree(directory), directory.name)


def calls(revised: Revision, distinct: int, bindings: int, *, read: bool) -> list[RecordedCall]:
    """Return recorded decisions, as many as `DECISIONS`, with so many different inputs of about 1 kB."""
    policies = revised.policies
    system = policies.system("assistant")
    made = []
    for number in range(distinct):
        agent = Agent(
            id=f"spiffe://example.org/agent/a{number % bindings}",
            kind="agent",
            team="research",
            owner="ada@example.org",
            status="active",
            risk_tier="limited",
            attributes={f"attribute-{place}": f"a value of forty characters, number {number:7}" for place in range(7)},
        )
        model = f"example-{number}" if read else MODELS[number % len(MODELS)]
        call = Call("openai", "chat.completions", "model.infer", "model", model, "/chat/completions", stream=True)
        roles = policies.roles_of(agent.id, agent.team, agent.kind, now=NOW)
        document = model_input(agent, roles, call, system, "local", "local", "test")
        made.append(RecordedCall(chain_of([document]), NOW, NOW, DECISIONS // distinct, 120))
    return made


def measure(directory: Path, jobs: int) -> list[dict[str, float]]:
    """Return the figures of each line of the table."""
    figures = []
    for bindings in BINDINGS:
        base = revision(directory / f"base-{bindings}", bindings, taken_away=False)
        candidate = revision(directory / f"candidate-{bindings}", bindings, taken_away=True)
        for distinct, differ in VARIANTS:
            samples = directory / f"{bindings}-{distinct}-{differ}.jsonl"
            with samples.open("wb") as file:
                file.writelines(map(sample_line, calls(base, distinct, bindings, read=differ)))
            start = perf_counter()
            cases = cases_of(read_samples(samples), (base.policies, candidate.policies))
            read = perf_counter()
            replayed = list(replay(cases, base.policies, candidate.policies, ReplayOptions(jobs=jobs)))
            decided = perf_counter()
            report = assess(replayed, base, candidate, now=NOW)
            text = impact_markdown(report, [])
            end = perf_counter()
            counts = report.counts()
            if counts["recorded"] != DECISIONS or not counts["allow_to_deny"] or len(text) > 60_000:
                raise RuntimeError("the report is not the one that this benchmark expects")
            figures.append(
                {
                    "bindings": bindings,
                    "distinct": distinct,
                    "each evaluated": differ,
                    "read": round(read - start, 2),
                    "replay": round(decided - read, 2),
                    "report": round(end - decided, 2),
                    "all": round(end - start, 2),
                }
            )
    return figures


def cell(value: float) -> str:
    """Return a figure, or yes or no, as text."""
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value:,}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file for the raw numbers")
    parser.add_argument("--jobs", type=int, default=2, help="processes that decide")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        figures = measure(Path(directory), arguments.jobs)
    print(
        f"Impact of {DECISIONS:,} recorded decisions, s ({arguments.jobs} processes, Python {sys.version.split()[0]})\n"
    )
    columns = list(figures[0])
    print(f"| {' | '.join(columns)} |\n|{' ---: |' * len(columns)}")
    for line in figures:
        print(f"| {' | '.join(map(cell, line.values()))} |")
    if arguments.json:
        arguments.json.write_text(json.dumps({"jobs": arguments.jobs, "seconds": figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
