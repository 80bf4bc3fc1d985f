"""govctl policy build, sign, verify and keygen, in a work tree of git and outside of one."""

import json
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway.authorization.bundle import BundleVerifier, read_bundle
from gateway.authorization.manifest import parse_manifest
from tests.unit.cli.conftest import Govctl

POLICIES = Path(__file__).resolve().parents[3] / "policies"
GIT = ("git", "-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false")


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep git from the repository and the settings around the tests."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    return Path(shutil.copytree(POLICIES, tmp_path / "repository" / "policies"))


def git(directory: Path, *arguments: str) -> str:
    return subprocess.run([*GIT, "-C", str(directory), *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def committed(policies: Path) -> Path:
    git(policies.parent, "init", "-q")
    git(policies.parent, "add", ".")
    git(policies.parent, "commit", "-q", "-m", "policies", "--date", "2026-01-02T03:04:05Z")
    return policies


def built(govctl: Govctl, policies: Path, *options: str) -> Any:
    return govctl("policy", "build", "--directory", str(policies), "--out", "b.tar.gz", "--json", *options).json


def test_build_writes_a_bundle_that_is_read(govctl: Govctl, policies: Path) -> None:
    report = built(govctl, policies)
    content = Path("b.tar.gz").read_bytes()
    tree = read_bundle(content, Path("b.tar.gz"), None)
    assert report["revision"].startswith("sha256:")
    assert report["revision"] == parse_manifest(tree.files[".manifest"], Path("m")).revision
    assert report["bytes"] == len(content)
    assert report["change"]["commit"] == ""
    assert report["key_id"] is None
    assert stat.S_IMODE(Path("b.tar.gz").stat().st_mode) == 0o644
    assert not [name for name in tree.files if name.endswith("_test.rego")]
    built(govctl, policies, "--tests")
    with_tests = read_bundle(Path("b.tar.gz").read_bytes(), Path("b"), None)
    assert [name for name in with_tests.files if name.endswith("_test.rego")]


def test_build_twice_gives_the_same_digest(govctl: Govctl, committed: Path) -> None:
    govctl("policy", "keygen", "--out", "keys")
    options = ("--signing-key", "keys/policies.private.pem", "--key-id", "policies")
    assert built(govctl, committed, *options)["digest"] == built(govctl, committed, *options)["digest"]


def test_build_takes_from_git_what_is_not_given(govctl: Govctl, committed: Path) -> None:
    head = git(committed, "rev-parse", "HEAD").strip()
    report = built(govctl, committed)
    assert report["revision"] == head
    assert report["uncommitted"] == []
    assert report["change"]["commit"] == head
    assert report["change"]["author"] == "Ann <ann@example.org>"
    assert report["change"]["serial"] == int(git(committed, "log", "-1", "--format=%ct"))
    assert report["change"]["commit_signed"] is False


def _edit(policies: Path) -> str:
    path = policies / "govgateway" / "authz" / "decision.rego"
    path.write_text(path.read_text() + "\n# changed\n")
    return "decision.rego"


def _add(policies: Path) -> str:
    (policies / "govgateway" / "more" / "deep").mkdir(parents=True)
    (policies / "govgateway" / "more" / "deep" / "x.rego").write_text("package govgateway.more\n\nx := 1\n")
    return "x.rego"


def _ignored(policies: Path) -> str:
    (policies.parent / ".git" / "info" / "exclude").write_text("hidden.rego\n")
    (policies / "govgateway" / "hidden.rego").write_text("package govgateway.hidden\n\nx := 1\n")
    return "hidden.rego"


def _data(policies: Path) -> str:
    path = policies / "govgateway" / "bindings" / "data.yaml"
    path.write_text(path.read_text() + "\n# changed\n")
    return "data.yaml"


def _manifest(policies: Path) -> str:
    (policies / ".manifest").write_text('{"roots": ["govgateway"]}')
    return ".manifest"


@pytest.mark.parametrize("change", [_edit, _add, _ignored, _data, _manifest])
def test_build_says_that_what_it_bundles_is_not_what_was_committed(
    govctl: Govctl, committed: Path, change: Any
) -> None:
    head = git(committed, "rev-parse", "HEAD").strip()
    name = change(committed)
    report = built(govctl, committed)
    assert report["revision"] == f"{head}-dirty"
    assert [Path(each).name for each in report["uncommitted"]] == [name]
    told = govctl("policy", "build", "--directory", str(committed), "--out", "b.tar.gz").out
    assert "Not what was committed" in told
    assert name in told


def test_files_that_are_not_bundled_make_nothing_dirty(govctl: Govctl, committed: Path) -> None:
    (committed / "README.md").write_text("changed")
    (committed.parent / "elsewhere.rego").write_text("package x\n")
    assert built(govctl, committed)["uncommitted"] == []


def test_options_go_before_the_file_and_the_file_before_git(govctl: Govctl, committed: Path) -> None:
    Path("change.json").write_text(
        json.dumps({"author": "bob", "link": "https://example.org/1", "impact": {"allow_to_deny": 3}, "serial": 5})
    )
    options = ["--change", "change.json", "--serial", "9", "--approver", "eve", "--approver", "mia", "--check", "test"]
    report = built(govctl, committed, *options, "--commit-signed", "--revision", "v1")
    assert report["revision"] == "v1"
    assert report["change"] == {
        "serial": 9,
        "commit": git(committed, "rev-parse", "HEAD").strip(),
        "commit_signed": True,
        "author": "bob",
        "approvers": ["eve", "mia"],
        "link": "https://example.org/1",
        "checks": ["test"],
        "impact": {"allow_to_deny": 3},
    }


@pytest.mark.parametrize("text", ["[]", "{", '{"approver": "x"}', '{"serial": -1}', '{"serial": "x"}'])
def test_a_change_of_another_form_is_refused(govctl: Govctl, policies: Path, text: str) -> None:
    Path("change.json").write_text(text)
    options = ["--directory", str(policies), "--out", "b.tar.gz", "--change", "change.json"]
    assert "change.json" in govctl("policy", "build", *options, code=1).err
    assert not Path("b.tar.gz").exists()


def test_build_refuses_policies_that_do_not_load(govctl: Govctl, policies: Path) -> None:
    (policies / "govgateway" / "authz" / "decision.rego").write_text("package govgateway.authz\n\nx := \n")
    said = govctl("policy", "build", "--directory", str(policies), "--out", "b.tar.gz", code=1).err
    assert "decision.rego" in said
    assert not Path("b.tar.gz").exists()


def test_keygen_sign_and_verify(govctl: Govctl, policies: Path) -> None:
    for algorithm in ("ES256", "ES384", "EdDSA"):
        made = govctl(
            "policy", "keygen", "--out", "keys", "--key-id", algorithm, "--algorithm", algorithm, "--json"
        ).json
        assert stat.S_IMODE(Path(made["private"]).stat().st_mode) == 0o600
        built(govctl, policies)
        govctl(
            "policy", "sign", "b.tar.gz", "--signing-key", made["private"], "--key-id", algorithm, "--out", "s.tar.gz"
        )
        key = f"{algorithm}={made['public']}"
        report = govctl("policy", "verify", "s.tar.gz", "--key", key, "--json").json
        assert report["revision"].startswith("sha256:")
        verifier = BundleVerifier({algorithm: Path(made["public"]).read_bytes()})
        assert read_bundle(Path("s.tar.gz").read_bytes(), Path("s"), verifier)
        assert "it has no signature" in govctl("policy", "verify", "b.tar.gz", "--key", key, code=1).err
        named = govctl("policy", "verify", "s.tar.gz", "--key", f"other={made['public']}", code=1).err
        assert f"the key '{algorithm}' is unknown; known are other" in named


def test_keygen_never_overwrites(govctl: Govctl) -> None:
    govctl("policy", "keygen", "--out", "keys")
    before = Path("keys/policies.private.pem").read_bytes()
    assert "never overwritten" in govctl("policy", "keygen", "--out", "keys", code=1).err
    assert Path("keys/policies.private.pem").read_bytes() == before
    for options in (["--key-id", "../x"], ["--key-id", ""], ["--key-id", "k", "--algorithm", "HS256"]):
        govctl("policy", "keygen", "--out", "other", *options, code=1)
    assert not Path("other").exists()


def test_a_signing_key_that_others_can_read_is_refused(govctl: Govctl, policies: Path) -> None:
    govctl("policy", "keygen", "--out", "keys")
    Path("keys/policies.private.pem").chmod(0o640)
    options = ["--directory", str(policies), "--out", "b.tar.gz", "--signing-key", "keys/policies.private.pem"]
    assert "chmod 600" in govctl("policy", "build", *options, "--key-id", "policies", code=1).err
    assert not Path("b.tar.gz").exists()


@pytest.mark.parametrize("options", [["--key-id", "x"], ["--signing-key", "keys/policies.private.pem"]])
def test_key_and_key_id_go_together(govctl: Govctl, policies: Path, options: list[str]) -> None:
    govctl("policy", "keygen", "--out", "keys")
    said = govctl("policy", "build", "--directory", str(policies), "--out", "b.tar.gz", *options, code=1).err
    assert "go together" in said


def test_what_is_no_key_is_refused_by_its_file(govctl: Govctl, policies: Path) -> None:
    built(govctl, policies)
    govctl("policy", "keygen", "--out", "keys")
    public, private = "keys/policies.public.pem", "keys/policies.private.pem"
    Path(public).chmod(0o600)
    sign = ["policy", "sign", "b.tar.gz", "--out", "s.tar.gz", "--key-id", "policies", "--signing-key"]
    assert f"{public}: The signing key is no private key" in govctl(*sign, public, code=1).err
    assert "is no public key" in govctl("policy", "verify", "b.tar.gz", "--key", f"k={private}", code=1).err
    for text in ("keys", "=x", "x=", "k=missing.pem"):
        govctl("policy", "verify", "b.tar.gz", "--key", text, code=1)
    assert "Give the key" in govctl("policy", "sign", "b.tar.gz", "--out", "s.tar.gz", code=1).err
    assert "cannot be read" in govctl("policy", "verify", "missing.tar.gz", "--key", f"k={public}", code=1).err
