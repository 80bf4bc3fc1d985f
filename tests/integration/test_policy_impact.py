"""From calls through a running gateway to a report on whom a change of its policies would hit."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.calls import chat, outcome, plain
from tests.support.running_gateway import AgentFiles, RunningGateway, govctl

MODELS = ["example-chat", "example-code"]
CALLS = 3


@pytest.fixture(scope="module")
def reviewed(example_backend: str, tmp_path_factory: pytest.TempPathFactory):
    running = RunningGateway(tmp_path_factory.mktemp("impact") / "home", example_backend, MODELS)
    running.start()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def used(reviewed: RunningGateway) -> tuple[AgentFiles, AgentFiles, int]:
    """One agent that calls a model, another that may not, and the tokens that the first was charged."""
    allowed, refused = reviewed.register("agent/allowed"), reviewed.register("agent/refused", team="sales")
    with plain(reviewed, allowed) as client:
        answers = [client.post("/v1/chat/completions", json=chat()) for _ in range(CALLS)]
    assert {answer.status_code for answer in answers} == {200}
    with plain(reviewed, refused) as client:
        assert client.post("/v1/chat/completions", json=chat("example-code")).status_code == 403
    charged = sum(outcome(reviewed, answer.headers["x-request-id"])["usage"]["charged_tokens"] for answer in answers)
    return allowed, refused, charged


@pytest.fixture
def candidate(reviewed: RunningGateway, tmp_path: Path) -> Path:
    """A copy of the policies in which research loses its role to sales."""
    copied = Path(shutil.copytree(reviewed.directory / "policies", tmp_path / "candidate"))
    bindings = copied / "govgateway" / "bindings" / "data.yaml"
    document = yaml.safe_load(bindings.read_text())
    assert "chat-user" in document["team:research"]
    document["team:sales"] = document.pop("team:research")
    bindings.write_text(yaml.safe_dump(document))
    return copied


def impact(gateway: RunningGateway, candidate: Path, *arguments: str, code: int = 0) -> str:
    done = govctl(gateway.directory, "policy", "impact", "--candidate", str(candidate), *arguments, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def of(document: dict[str, Any], change: str) -> list[tuple[str, str, int, int]]:
    return [
        (flip["principal"], flip["resource"], flip["decisions"], flip["tokens"])
        for flip in document["flips"]
        if flip["change"] == change
    ]


def test_the_report_says_who_loses_and_who_gains_what(
    reviewed: RunningGateway, used: tuple[AgentFiles, AgentFiles, int], candidate: Path
) -> None:
    allowed, refused, charged = used
    document = json.loads(impact(reviewed, candidate, "--format", "json"))
    assert of(document, "allow-to-deny") == [(allowed.id, "example-chat", CALLS, charged)]
    assert of(document, "deny-to-allow") == [(refused.id, "example-code", 1, 0)]
    assert charged > 0
    (lost,) = document["lost_access"]
    assert (lost["principal"], lost["model"], lost["decisions"]) == (allowed.id, "example-chat", CALLS)
    assert document["recorded"]["departing"] == 0
    assert document["recorded"]["reproduced"] == CALLS + 1
    assert "Hello there" not in json.dumps(document)


def test_the_running_policies_have_no_impact_on_themselves(
    reviewed: RunningGateway, used: tuple[AgentFiles, AgentFiles, int]
) -> None:
    document = json.loads(
        impact(reviewed, reviewed.directory / "policies", "--format", "json", "--fail-on", "allow-to-deny")
    )
    assert document["counts"]["recorded"] == CALLS + 1
    assert document["flips"] == []


def test_a_crossed_threshold_is_exit_status_3_and_a_wrong_one_2(
    reviewed: RunningGateway, used: tuple[AgentFiles, AgentFiles, int], candidate: Path
) -> None:
    impact(reviewed, candidate, "--fail-on", f"allow-to-deny={CALLS}", "--fail-on", "separation-of-duties")
    impact(reviewed, candidate, "--fail-on", f"allow-to-deny={CALLS - 1}", code=3)
    impact(reviewed, candidate, "--fail-on", "lost-access", code=3)
    impact(reviewed, candidate, "--fail-on", "everything", code=2)
    impact(reviewed, candidate / "missing", code=1)


def test_samples_recorded_for_a_pipeline_give_the_same_report_without_the_log(
    reviewed: RunningGateway, used: tuple[AgentFiles, AgentFiles, int], candidate: Path, tmp_path: Path
) -> None:
    samples, exported = tmp_path / "samples.jsonl", tmp_path / "records.jsonl"
    govctl(reviewed.directory, "policy", "record", "--out", str(samples))
    exported.write_text("".join(json.dumps(each) + "\n" for each in reviewed.records()))
    whole = json.loads(impact(reviewed, candidate, "--format", "json"))
    for source in (("--samples", str(samples)), ("--records", str(exported))):
        elsewhere = govctl(
            tmp_path,
            "policy", "impact", "--base", str(reviewed.directory / "policies"), "--candidate", str(candidate),
            *source, "--format", "json",
        )  # fmt: skip
        document = json.loads(elsewhere.stdout)
        assert document["counts"] == whole["counts"]
        assert of(document, "allow-to-deny") == of(whole, "allow-to-deny")


def test_pseudonyms_keep_the_figures_and_lose_the_names(
    reviewed: RunningGateway, used: tuple[AgentFiles, AgentFiles, int], candidate: Path, tmp_path: Path
) -> None:
    samples = tmp_path / "samples.jsonl"
    govctl(reviewed.directory, "policy", "record", "--out", str(samples), "--pseudonymize")
    text = samples.read_text()
    assert "agent/allowed" not in text
    assert "ada@gateway.test" not in text
    counts = json.loads(impact(reviewed, candidate, "--samples", str(samples), "--format", "json"))["counts"]
    assert (counts["allow_to_deny"], counts["deny_to_allow"]) == (CALLS, 1)


@pytest.mark.parametrize("output", ["terminal", "markdown", "sarif"])
def test_every_form_of_the_report_goes_to_a_file(
    reviewed: RunningGateway, used: tuple[AgentFiles, AgentFiles, int], candidate: Path, tmp_path: Path, output: str
) -> None:
    out = tmp_path / "report"
    assert impact(reviewed, candidate, "--format", output, "--out", str(out)) == ""
    assert used[0].id in out.read_text()


def test_one_replay_writes_several_forms(
    reviewed: RunningGateway, used: tuple[AgentFiles, AgentFiles, int], candidate: Path, tmp_path: Path
) -> None:
    files = {form: tmp_path / form for form in ("json", "sarif")}
    wanted = [part for form, file in files.items() for part in ("--write", f"{form}={file}")]
    assert "Models lost" in impact(reviewed, candidate, *wanted)
    assert json.loads(files["json"].read_text())["schema"] == "govgateway.policy-impact/1"
    assert json.loads(files["sarif"].read_text())["version"] == "2.1.0"
    for wrong in ("json", "pdf=x", "json="):
        impact(reviewed, candidate, "--write", wrong, code=2)


def test_commits_of_a_repository_are_compared_without_checking_them_out(
    reviewed: RunningGateway, tmp_path: Path
) -> None:
    repository = tmp_path / "repository"
    policies = Path(shutil.copytree(reviewed.directory / "policies", repository / "policies"))
    git = ["git", "-C", str(repository), "-c", "user.name=Ada", "-c", "user.email=ada@gateway.test"]
    subprocess.run([*git, "init", "-q", "-b", "main"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "policies"], check=True)
    bindings = policies / "govgateway" / "bindings" / "data.yaml"
    bindings.write_text(bindings.read_text() + "\nteam:marketing: [chat-user]\n")
    done = govctl(repository, "policy", "diff", "git:main:policies", "policies", "--json")
    (subject,) = json.loads(done.stdout)["subjects"]
    assert (subject["subject"], subject["gained"]) == ("team:marketing", ["chat-user"])
    assert (
        "team:marketing" in govctl(repository, "policy", "diff", "git:main:policies", "policies", "--markdown").stdout
    )
    for name in ("git:main:nowhere", "git:other:policies", "git:--help:policies", "git:main"):
        assert govctl(repository, "policy", "diff", name, "policies", check=False).returncode == 1
    (policies / "govgateway" / "elsewhere").symlink_to("/etc")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "a link"], check=True)
    refused = govctl(repository, "policy", "diff", "git:HEAD:policies", "policies", check=False)
    assert refused.returncode == 1
    assert "govgateway/elsewhere is a link" in refused.stderr
