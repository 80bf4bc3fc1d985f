"""The ready-made pipelines, step by step, on a repository with a history, a pull request and a running gateway.

Every `run:` and `script:` step is taken from the files in deploy/ci and run by bash as written. Not run here: steps that
are actions of the forge (named in ACTIONS), and the installation. `gh` and `curl` towards the forge are stand-ins that
answer with JSON of the shape of its API. What needs jq or opa is an interop test.
"""

import base64
import gzip
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.policyreview.recorded import RecordedCall, chain_of, sample_line
from tests.support.calls import chat, plain, recorded
from tests.support.policy_bundles import activate, refused
from tests.support.running_gateway import BIN, ROOT, RunningGateway, govctl
from tests.unit.authorization.conftest import call as policy_input

GITHUB = ROOT / "deploy/ci/github/policies.yml"
ACTIVATE = ROOT / "deploy/ci/github/policies-activate.yml"
GITLAB = ROOT / "deploy/ci/gitlab/policies.gitlab-ci.yml"
ACTIONS = {"actions/checkout", "actions/setup-python", "actions/upload-artifact", "actions/download-artifact"}
NOW = 1_796_000_000
MODEL = "example-chat"
READER = "spiffe://example.org/agent/reader"

STAND_IN = '''#!{python}
"""A stand-in for the forge's API: answers what gh or curl asks for out of a directory, and notes what is sent."""
import json, pathlib, re, shutil, sys
answers = pathlib.Path("{answers}")
arguments = sys.argv[1:]
if arguments[:2] == ["run", "download"]:
    sys.exit(bool(shutil.copy(answers / "policies.tar.gz", ".") != "./policies.tar.gz"))
asked = next(a for a in arguments if a.startswith(("repos/", "https://forge.test/")))
name = re.sub("[^a-z0-9]+", "-", asked.split("?")[0].lower()).strip("-")
with (answers / "asked").open("a") as log:
    log.write(json.dumps(arguments) + "\\n")
sent = "--input" if "--input" in arguments else "--data" if "--data" in arguments else ""
if sent:
    (answers / "sent.json").write_text(pathlib.Path(arguments[arguments.index(sent) + 1].lstrip("@")).read_text())
    sys.exit(0)
try:
    text = (answers / (name + ".json")).read_text()
except FileNotFoundError:
    sys.exit("404 " + name)
if "--slurp" in arguments:
    text = json.dumps([json.loads(text)])
sys.stdout.write(text)
'''


class Repository:
    """A repository of policies, made here: signed commits on main, and a branch with a change."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.answers = directory.parent / "forge"
        self.answers.mkdir()
        self.bin = directory.parent / "bin"
        self.bin.mkdir()
        self.temporary = directory.parent / "tmp"
        self.temporary.mkdir()
        for name in ("gh", "curl"):
            path = self.bin / name
            path.write_text(STAND_IN.format(python=sys.executable, answers=self.answers))
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        self.key = directory.parent / "author"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        self.signers = directory.parent / "signers"
        self.signers.write_text(f"ada@example.org {self.key.with_suffix('.pub').read_text()}")
        directory.mkdir()
        self.git("init", "--quiet", "--initial-branch", "main")
        shutil.copytree(ROOT / "policies", directory / "policies")
        shutil.copytree(ROOT / "deploy/ci", directory / "deploy/ci")
        (directory / "policy-samples").mkdir()
        (directory / "policy-samples/calls.jsonl").write_bytes(b"".join(self._samples()))
        govctl(directory.parent, "policy", "keygen", "--out", ".", "--key-id", "ci")
        self.private = directory.parent / "ci.private.pem"
        shutil.copy(directory.parent / "ci.public.pem", directory / "policy-signing.public.pem")
        self.commit("The policies as they are")
        self.base = self.git("rev-parse", "HEAD")

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=ada", "-c", "user.email=ada@example.org", "-c", "gpg.format=ssh"]
        who += ["-c", f"user.signingKey={self.key}", "-c", f"gpg.ssh.allowedSignersFile={self.signers}"]
        done = subprocess.run(
            ["git", *who, *arguments], cwd=self.directory, check=True, capture_output=True, text=True,
            env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"},
        )  # fmt: skip
        return done.stdout.strip()

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--gpg-sign", "--message", message)
        return self.git("rev-parse", "HEAD")

    def verified(self, commit: str) -> bool:
        """Whether the commit has a good signature of a known key, as a forge says it."""
        try:
            self.git("verify-commit", commit)
        except subprocess.CalledProcessError:
            return False
        return True

    def change(self, branch: str, table: str, change: Callable[[Any], Any]) -> str:
        """Commit a change of a table on a branch off main."""
        self.git("checkout", "--quiet", "-B", branch, "main")
        path = self.directory / f"policies/govgateway/{table}/data.yaml"
        path.write_text(yaml.safe_dump(change(yaml.safe_load(path.read_text()))))
        return self.commit(f"Change {table}")

    def run(self, script: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a step as a forge's runner does."""
        path = f"{self.bin}:{BIN}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script], cwd=self.directory, check=False,
            capture_output=True, text=True, timeout=300,
            env={
                "PATH": path, "HOME": str(self.directory.parent), "TMPDIR": str(self.temporary),
                "GIT_CONFIG_NOSYSTEM": "1", **env,
            },
        )  # fmt: skip

    def answer(self, name: str, document: Any) -> None:
        (self.answers / f"{name}.json").write_text(json.dumps(document))

    @staticmethod
    def _samples() -> list[bytes]:
        calls = [policy_input(), policy_input(resource={"id": "tiny"})]
        return [
            sample_line(RecordedCall(chain_of([each]), NOW, NOW - 60, count=40, tokens=900, decision="allow")) + b"\n"
            for each in calls
        ]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def run_job(
    repository: Repository, job: str, values: dict[str, str], workflow: Path = GITHUB
) -> dict[str, subprocess.CompletedProcess[str]]:
    """Run the steps of a GitHub job until one fails, and those that always run.

    `${{ … }}` is replaced from `values`, in environments alone.
    """
    document = yaml.safe_load(workflow.read_text())
    assert document["defaults"]["run"]["shell"] == "bash", "the runner adds pipefail only where bash is named"
    done: dict[str, subprocess.CompletedProcess[str]] = {}
    failed = False
    for step in document["jobs"][job]["steps"]:
        if "run" not in step or step["name"] == "Install" or (failed and step.get("if") != "always()"):
            continue
        assert "${{" not in step["run"], "what a pull request brings is never put into a script"
        env = {
            key: re.sub(r"\$\{\{ (.*?) \}\}", lambda found: values[found[1]], text)
            for key, text in {**document.get("env", {}), **step.get("env", {})}.items()
        }
        done[step["name"]] = repository.run(step["run"], **env)
        failed = failed or done[step["name"]].returncode != 0
    return done


def review(repository: Repository) -> dict[str, subprocess.CompletedProcess[str]]:
    return run_job(repository, "policy-review", {"github.event.pull_request.base.sha": repository.base})


# The pull request


@pytest.mark.interop
def test_a_pull_request_says_who_would_lose_what_and_fails_when_it_is_too_much(repository):
    repository.change("take-away", "bindings", lambda table: {**table, "team:research": ["embedding-user"]})
    done = review(repository)
    assert [name for name, each in done.items() if each.returncode] == ["Impact"], done["Impact"].stderr
    assert done["Impact"].returncode == 3
    report = (repository.directory / "review/impact.md").read_text()
    assert READER in report
    assert "model_not_granted" in report
    assert (repository.directory / "review/tests.xml").read_text().startswith("<?xml")
    assert json.loads((repository.directory / "review/impact.sarif").read_text())["version"] == "2.1.0"
    assert "embedding-user" in (repository.directory / "review/diff.md").read_text()
    comment = (repository.directory / "review/comment.md").read_text()
    assert comment.startswith(
        "<!-- govgateway policy impact -->\ncheck: passed · test: passed · build: passed · impact: **f"
    )
    assert READER in comment
    assert "embedding-user" in comment
    values = {"github.token": "t", "github.repository": "o/r", "github.event.pull_request.number": "7"}
    (upload,) = run_job(
        repository, "code-scanning", {**values, "github.event.pull_request.head.sha": "c" * 40}
    ).values()
    assert upload.returncode == 0, upload.stderr
    sent = json.loads((repository.answers / "sent.json").read_text())
    assert (sent["commit_sha"], sent["ref"]) == ("c" * 40, "refs/pull/7/head")
    sarif = (repository.directory / "review/impact.sarif").read_bytes()
    assert gzip.decompress(base64.b64decode(sent["sarif"])) == sarif


@pytest.mark.interop
def test_the_comment_is_made_once_and_then_replaced(repository):
    repository.change("more", "bindings", lambda table: {**table, "team:new": ["chat-user"]})
    done = review(repository)
    assert all(each.returncode == 0 for each in done.values()), {n: e.stderr for n, e in done.items() if e.returncode}
    values = {"github.token": "t", "github.repository": "o/r", "github.event.pull_request.number": "7"}
    repository.answer("repos-o-r-issues-7-comments", [])
    (comment,) = run_job(repository, "comment", values).values()
    assert comment.returncode == 0, comment.stderr
    body = json.loads((repository.answers / "sent.json").read_text())["body"]
    assert body.startswith("<!-- govgateway policy impact -->")
    asked = (repository.answers / "asked").read_text().splitlines()
    assert "POST" in asked[-1]
    mine = {"id": 99, "body": body, "user": {"login": "github-actions[bot]"}}
    other = {"id": 98, "body": body, "user": {"login": "somebody"}}
    repository.answer("repos-o-r-issues-7-comments", [other, mine])
    (again,) = run_job(repository, "comment", values).values()
    assert again.returncode == 0, again.stderr
    last = (repository.answers / "asked").read_text().splitlines()[-1]
    assert "PATCH" in last
    assert "comments/99" in last


def test_a_broken_policy_stops_at_the_check(repository):
    repository.git("checkout", "--quiet", "-B", "broken", "main")
    (repository.directory / "policies/govgateway/authz/x.rego").write_text("package govgateway.authz\n\nx if {\n")
    repository.commit("Break it")
    done = review(repository)
    assert list(done) == ["Check", "Put the comment together"]
    assert "x.rego" in done["Check"].stdout
    comment = (repository.directory / "review/comment.md").read_text()
    assert "check: **failed** · test: not run" in comment
    assert "x.rego" in comment


def test_a_failing_test_stops_at_the_tests(repository):
    repository.git("checkout", "--quiet", "-B", "failing", "main")
    (repository.directory / "policies/govgateway/authz/x_test.rego").write_text(
        "package govgateway.authz_test\n\ntest_wrong if 1 == 2\n"
    )
    repository.commit("A test that fails")
    done = review(repository)
    assert list(done) == ["Check", "Test", "Put the comment together"]
    assert done["Test"].returncode == 1


# What is merged


def merged(repository: Repository, *, sign: bool = True, **changes: Any) -> tuple[dict[str, str], str]:
    """Merge the branch as the forge does, and have the stand-in say how it came about."""
    head = repository.git("rev-parse", "more")
    repository.git("checkout", "--quiet", "main")
    signing = "--gpg-sign" if sign else "--no-gpg-sign"
    repository.git("merge", "--quiet", "--no-ff", signing, "--message", "Merge the change", "more")
    commit = repository.git("rev-parse", "HEAD")
    said = {"reviews": [_review("grace", "APPROVED", head)], "conclusion": "success", **changes}
    verified = repository.verified(commit)
    repository.answer(
        f"repos-o-r-commits-{commit}", {"sha": commit, "commit": {"verification": {"verified": verified}}}
    )
    repository.answer(f"repos-o-r-commits-{commit}-pulls", [{"number": 7, "merged_at": "2026-11-23T10:00:00Z"}])
    repository.answer("repos-o-r-actions-workflows-policies-yml-runs", {"workflow_runs": [{"head_sha": commit}]})
    repository.answer("repos-o-r-pulls-7", {
        "number": 7, "merged": True, "merge_commit_sha": commit, "head": {"sha": head}, "commits": 1,
        "user": {"login": "ada"}, "html_url": "https://forge.test/o/r/pull/7",
    })  # fmt: skip
    wrote = {"sha": head, "author": {"login": "ada"}, "committer": {"login": "ada"}}
    repository.answer("repos-o-r-pulls-7-commits", [wrote])
    repository.answer("repos-o-r-pulls-7-reviews", said["reviews"])
    run = {"name": "policy-review", "head_sha": head, "status": "completed", "conclusion": said["conclusion"],
           "started_at": "2026-11-23T09:00:00Z", "check_suite": {"id": 1}}  # fmt: skip
    repository.answer(f"repos-o-r-commits-{head}-check-runs", {"total_count": 1, "check_runs": [run]})
    values = {
        "github.token": "t", "github.repository": "o/r", "github.sha": commit, "github.event.before": repository.base,
        "secrets.POLICY_SIGNING_KEY": repository.private.read_text(),
    }  # fmt: skip
    return values, commit


def _review(
    login: str, state: str, commit: str, at: str = "2026-11-23T08:00:00Z", kind: str = "User"
) -> dict[str, Any]:
    return {
        "user": {"login": login, "type": kind}, "state": state, "commit_id": commit, "submitted_at": at,
        "author_association": "MEMBER",
    }  # fmt: skip


def released(repository: Repository, **changes: Any) -> tuple[Path, str]:
    """Take a change through the release; return the bundle and its commit."""
    repository.change("more", "bindings", lambda table: {**table, "team:new": ["chat-user"]})
    values, commit = merged(repository, **changes)
    done = run_job(repository, "policy-release", values)
    failed = {name: each.stderr + each.stdout for name, each in done.items() if each.returncode}
    assert not failed, failed
    left = [path for path in (repository.directory.parent / "tmp").rglob("*") if path.is_file()]
    assert not left, "the key does not stay"
    return repository.directory / "policies.tar.gz", commit


@pytest.fixture
def gateway(example_backend: str, repository: Repository, tmp_path: Path):
    keys = [{"id": "ci", "file": str(tmp_path / "ci.public.pem")}]
    require = {"approvers": 1, "signed_commit": True, "checks": ["policy-review"], "serial": True}
    policy = {"policy": {"source": "bundle", "keys": keys, "require": require}}
    running = RunningGateway(tmp_path / "home", example_backend, [MODEL], policy)
    yield running
    assert running.stop() == 0


@pytest.mark.interop
def test_what_was_approved_and_checked_is_activated_and_the_log_says_by_whom(repository, gateway):
    bundle, commit = released(repository)
    assert bundle.name == "policies.tar.gz"
    values = {
        "vars.GATEWAY_CONFIG": str(gateway.config_path),
        "github.token": "t",
        "github.repository": "o/r",
        "inputs.run": "3",
    }
    shutil.copy(bundle, repository.answers)
    done = run_job(repository, "policy-activate", values, ACTIVATE)
    assert [each.returncode for each in done.values()] == [0, 0], [each.stderr for each in done.values()]
    gateway.start()
    caller = gateway.register("agent/newcomer", team="new")
    with plain(gateway, caller) as client:
        assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
    change = recorded(gateway, "policy.activated")["change"]
    assert (change["author"], change["approvers"], change["commit"]) == ("ada", ["grace"], commit)
    assert change["link"] == "https://forge.test/o/r/pull/7"
    assert (change["commit_signed"], change["checks"]) == (True, ["policy-review"])
    assert change["serial"] > 0
    report = json.loads((repository.directory / "said/impact.json").read_text())
    assert change["impact"] == report["counts"] != {}
    assert recorded(gateway, "access.intent", principal=caller.id)["policy"]["revision"] == commit


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"reviews": []}, "1 approver"),
        ({"sign": False}, "signature was verified"),
        ({"conclusion": "failure"}, "the passed check policy-review"),
    ],
)
@pytest.mark.interop
def test_what_lacks_one_of_them_is_not(repository, gateway, changes, why):
    bundle, _ = released(repository, **changes)
    assert why in refused(gateway, "activate", str(bundle))


@pytest.mark.interop
def test_the_same_policies_with_another_record_are_refused(repository, gateway):
    released(repository)
    record = json.loads((repository.directory / "change.json").read_text())
    signing = ("--signing-key", str(repository.private), "--key-id", "ci")
    for change, why in (
        ({"approvers": []}, "1 approver"),
        ({"approvers": ["Ada"]}, "1 approver"),
        ({"commit_signed": False}, "signature was verified"),
        ({"checks": ["another"]}, "the passed check policy-review"),
    ):
        (repository.directory / "change.json").write_text(json.dumps({**record, **change}))
        govctl(
            repository.directory, "policy", "build", "--directory", "policies", "--change", "change.json", *signing,
            "--out", "other.tar.gz",
        )  # fmt: skip
        assert why in refused(gateway, "activate", str(repository.directory / "other.tar.gz"))


@pytest.mark.interop
def test_a_commit_that_was_never_reviewed_does_not_come_along_with_the_next(repository):
    repository.git("checkout", "--quiet", "main")
    path = repository.directory / "policies/govgateway/bindings/data.yaml"
    path.write_text(path.read_text() + "team:smuggled: [chat-user]\n")
    pushed = repository.commit("Past every review")
    repository.answer(f"repos-o-r-commits-{pushed}-pulls", [])
    repository.change("more", "bindings", lambda table: {**table, "team:new": ["chat-user"]})
    values, _ = merged(repository)
    repository.answer(
        "repos-o-r-actions-workflows-policies-yml-runs", {"workflow_runs": [{"head_sha": repository.base}]}
    )
    done = run_job(repository, "policy-release", {**values, "github.event.before": pushed})
    assert f"{pushed} changed the policies, was never released" in list(done.values())[-1].stdout
    assert not (repository.directory / "policies.tar.gz").exists()


@pytest.mark.interop
def test_a_commit_without_a_pull_request_becomes_no_revision(repository):
    repository.change("more", "bindings", lambda table: {**table, "team:new": ["chat-user"]})
    values, commit = merged(repository)
    repository.answer(f"repos-o-r-commits-{commit}-pulls", [])
    done = run_job(repository, "policy-release", values)
    assert "no pull request" in list(done.values())[-1].stdout
    assert not (repository.directory / "policies.tar.gz").exists()


# GitLab


def gitlab(repository: Repository, job: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a GitLab job: its script lines in one shell, as its runner does."""
    document = yaml.safe_load(GITLAB.read_text())
    done = repository.run("\n".join(document[job]["script"]), **document["variables"], **env)
    after = "\n".join(document[job].get("after_script", []))
    assert repository.run(after, **document["variables"], **env).returncode == 0
    return done


@pytest.mark.interop
def test_the_same_on_gitlab(repository, gateway):
    repository.change("more", "bindings", lambda table: {**table, "team:new": ["chat-user"]})
    done = gitlab(repository, "policy-review", CI_MERGE_REQUEST_DIFF_BASE_SHA=repository.base)
    assert done.returncode == 0, done.stderr
    api = {"CI_API_V4_URL": "https://forge.test/api", "CI_PROJECT_ID": "5", "CI_MERGE_REQUEST_IID": "7"}
    repository.answer("https-forge-test-api-projects-5-merge-requests-7-notes", [])
    repository.answer("https-forge-test-api-user", {"id": 1})
    done = gitlab(repository, "policy-comment", POLICY_REVIEW_TOKEN="t", **api)
    assert done.returncode == 0, done.stderr
    assert json.loads((repository.answers / "sent.json").read_text())["body"].startswith("<!-- govgateway")
    _, commit = merged(repository)
    project = "https-forge-test-api-projects-5-"
    repository.answer(f"{project}repository-commits-{commit}-merge-requests", [{"iid": 7, "state": "merged"}])
    repository.answer(f"{project}merge-requests-7", {
        "iid": 7, "state": "merged", "merge_commit_sha": commit, "author": {"username": "ada"},
        "web_url": "https://forge.test/7", "sha": "e" * 40, "head_pipeline": {"id": 3, "sha": "e" * 40},
    })  # fmt: skip
    approved = {"approved_by": [{"user": {"username": "grace"}}, {"user": {"username": "ada"}}]}
    repository.answer(f"{project}merge-requests-7-approvals", approved)
    repository.answer(f"{project}repository-commits-{commit}-signature", {"verification_status": "verified"})
    repository.answer(
        f"{project}pipelines-3-jobs", [{"name": "policy-review", "status": "success", "pipeline": {"id": 3}}]
    )
    repository.answer(f"{project}deployments", [])
    settings = {"reset_approvals_on_push": True, "merge_requests_author_approval": False}
    repository.answer(f"{project}approvals", {**settings, "merge_requests_disable_committers_approval": True})
    done = gitlab(
        repository, "policy-release", POLICY_READ_TOKEN="t", POLICY_SIGNING_KEY_FILE=str(repository.private),
        CI_COMMIT_SHA=commit, CI_COMMIT_BEFORE_SHA=repository.base, **api,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert activate(gateway, repository.directory / "policies.tar.gz")["change"]["approvers"] == ["grace"]


# The files themselves


def test_the_workflows_pin_their_actions_and_grant_little():
    for path in (GITHUB, ACTIVATE):
        document = yaml.safe_load(path.read_text())
        assert document["permissions"] == {}
        assert "pull_request_target" not in path.read_text()
        used = [step["uses"] for job in document["jobs"].values() for step in job["steps"] if "uses" in step]
        assert {each.partition("@")[0] for each in used} <= ACTIONS
        assert all(re.fullmatch(r"[0-9a-f]{40}", each.partition("@")[2]) for each in used)
        assert all(job["timeout-minutes"] for job in document["jobs"].values())
    jobs = yaml.safe_load(GITHUB.read_text())["jobs"]
    writing = {name: job["permissions"] for name, job in jobs.items() if "write" in job["permissions"].values()}
    assert writing == {"comment": {"pull-requests": "write"}, "code-scanning": {"security-events": "write"}}
    for name in writing:
        assert not any("checkout" in step.get("uses", "") for step in jobs[name]["steps"])
        assert not any("deploy/ci" in step.get("run", "") for step in jobs[name]["steps"])
        assert "head.repo.full_name == github.repository" in jobs[name]["if"]
    assert [name for name, job in jobs.items() if "secrets." in json.dumps(job)] == ["policy-release"]
    assert jobs["policy-release"]["environment"] == "policies"


def test_the_gitlab_jobs_that_hold_a_token_are_for_the_default_branch_or_run_nothing_of_the_author():
    document = yaml.safe_load(GITLAB.read_text())
    jobs = {name: job for name, job in document.items() if isinstance(job, dict) and "script" in job}
    assert {job["stage"] for job in jobs.values()} <= set(document["stages"])
    assert {name for name in jobs if "environment" in jobs[name]} == {
        "policy-comment",
        "policy-release",
        "policy-activate",
    }
    for name in ("policy-release", "policy-activate"):
        assert all("$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH" in rule["if"] for rule in jobs[name]["rules"])
    comment = jobs["policy-comment"]
    assert comment["variables"] == {"GIT_STRATEGY": "none"}
    assert "deploy/ci" not in json.dumps([comment["before_script"], comment["script"], comment["after_script"]])


@pytest.mark.interop
def test_the_pre_commit_hooks_run(repository):
    hooks = yaml.safe_load((ROOT / "deploy/ci/pre-commit/pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    for hook in hooks:
        assert repository.run(hook["entry"]).returncode == 0, hook["entry"]
    (repository.bin / "opa").symlink_to(ROOT / ".interop/bin/opa")
    (repository.directory / "policies/govgateway/authz/x.rego").write_text("package govgateway.authz\nx   :=   1\n")
    assert {hook["id"] for hook in hooks if repository.run(hook["entry"]).returncode} == {
        "policy-check",
        "policy-format",
    }
