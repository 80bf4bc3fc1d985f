"""Bundles in the real OPA: it takes ours, we take its, both decide the same on them, and both refuse a changed one."""

import gzip
import io
import itertools
import json
import os
import shutil
import subprocess
import tarfile
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gateway.authorization.bundle import (
    BundleError,
    BundleSigner,
    BundleVerifier,
    read_bundle,
    unpack_bundle,
    write_bundle,
)
from gateway.authorization.bundle.archive import pack
from gateway.authorization.bundle.file_hash import digest
from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.manifest import Change, Manifest
from gateway.authorization.policy_set import load_policy_set, load_policy_tree
from gateway.authorization.policy_tree import read_policy_tree

pytestmark = pytest.mark.interop

ROOT = Path(__file__).resolve().parents[2]
POLICIES = ROOT / "policies"
MANIFEST = Manifest("r1", ("govgateway",), Change(serial=1, author="ann", approvers=("bob",)))
KEY_ID = "release"
DECISION = "data.govgateway.authz.decision"
MAKERS: Mapping[str, Callable[[], Any]] = {
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ES512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "PS384": lambda: rsa.generate_private_key(65537, 2048),
}
OURS = ("ES256", "ES384", "ES512", "EdDSA")


class Opa:
    """The real OPA, with one key for each algorithm."""

    def __init__(self, program: str, directory: Path) -> None:
        self._program = program
        self.directory = directory
        for algorithm, make in MAKERS.items():
            key = make()
            private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            self.private(algorithm).write_bytes(private)
            self.public(algorithm).write_bytes(public)

    def private(self, algorithm: str) -> Path:
        return self.directory / f"{algorithm}.private.pem"

    def public(self, algorithm: str) -> Path:
        return self.directory / f"{algorithm}.public.pem"

    def signer(self, algorithm: str) -> BundleSigner:
        return BundleSigner(self.private(algorithm).read_bytes(), KEY_ID)

    def verifier(self, algorithm: str, key_id: str = KEY_ID) -> BundleVerifier:
        return BundleVerifier({key_id: self.public(algorithm).read_bytes()})

    def __call__(
        self, *arguments: str | Path, cwd: Path | None = None, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        command = [self._program, *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, text=True, timeout=100, check=False)

    def good(self, *arguments: str | Path, cwd: Path | None = None) -> str:
        done = self(*arguments, cwd=cwd)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def verified_run(self, content: bytes, algorithm: str, query: str) -> subprocess.CompletedProcess[str]:
        """Load a bundle with verification and evaluate a query."""
        path = self.directory / "run.tar.gz"
        path.write_bytes(content)
        flags = ("--verification-key", self.public(algorithm), "--verification-key-id", KEY_ID)
        return self(
            "run", "--skip-version-check", "--format=json", "--signing-alg", algorithm, *flags, "--bundle", path,
            stdin=query + "\n",
        )  # fmt: skip


@pytest.fixture(scope="module")
def opa(tmp_path_factory: pytest.TempPathFactory) -> Opa:
    found = shutil.which("opa", path=f"{ROOT / '.interop' / 'bin'}:{os.environ['PATH']}")
    if found is None:
        pytest.fail("opa is not installed; deploy/interop.sh installs it")
    return Opa(found, tmp_path_factory.mktemp("opa"))


@pytest.fixture(scope="module")
def ours(opa: Opa) -> Mapping[str, bytes]:
    tree = read_policy_tree(POLICIES)
    return {algorithm: write_bundle(tree, MANIFEST, opa.signer(algorithm)) for algorithm in OURS}


def calls() -> list[dict[str, Any]]:
    """Return calls that differ in what policies look at."""
    parts = itertools.product(
        (["chat-user"], ["embedding-user"], ["platform-admin"], []),
        ("model.infer", "model.embed", "admin.config.reload"),
        ("tiny", "example-chat", "other"),
        ("active", "suspended"),
        ("minimal", "high"),
    )
    return [_call(*each) for each in parts]


def _call(roles: list[str], action: str, model: str, status: str, risk: str) -> dict[str, Any]:
    return {
        "principal": {
            "id": "spiffe://example.org/agent/a",
            "kind": "agent",
            "team": "research",
            "owner": "",
            "status": status,
            "risk_tier": "limited",
            "roles": roles,
            "delegation": [],
            "attributes": {},
        },
        "action": action,
        "resource": {
            "type": "model",
            "id": model,
            "system": "assistant",
            "risk": risk,
            "region": "local",
            "data_classes": ["public"],
        },
        "request": {"protocol": "openai", "stream": False, "max_tokens": 0, "tools": [], "data_classes": ["public"]},
        "context": {"region": "local", "environment": "test"},
    }


def by_opa(opa: Opa, content: bytes) -> list[dict[str, Any]]:
    bundle, document = opa.directory / "eval.tar.gz", opa.directory / "calls.json"
    bundle.write_bytes(content)
    document.write_text(json.dumps({"calls": calls()}))
    query = f"[d | some c in input.calls; d := {DECISION} with input as c]"
    answer = opa.good("eval", "--bundle", bundle, "--input", document, "--format=json", query)
    return list(json.loads(answer)["result"][0]["expressions"][0]["value"])


def by_us(content: bytes) -> list[dict[str, Any]]:
    engine = EmbeddedEngine(load_policy_tree(read_bundle(content, Path("b"), None)))
    decisions = [engine.decide_now(call) for call in calls()]
    return [
        {
            "allow": each.allow,
            "reasons": list(each.reasons),
            "obligations": list(each.obligations),
            "cache_seconds": each.cache_seconds,
        }
        for each in decisions
    ]


@pytest.mark.parametrize("algorithm", OURS)
def test_opa_verifies_our_bundle_and_decides_as_we_do(opa: Opa, ours: Mapping[str, bytes], algorithm: str) -> None:
    call = json.dumps(calls()[0])
    done = opa.verified_run(ours[algorithm], algorithm, f"{DECISION} with input as {call}")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout[done.stdout.index("{") :])
    assert answer["result"][0]["expressions"][0]["value"] == by_us(ours[algorithm])[0]


def test_opa_decides_every_call_on_our_bundle_as_we_do(opa: Opa, ours: Mapping[str, bytes]) -> None:
    expected = by_us(ours["ES256"])
    assert by_opa(opa, ours["ES256"]) == expected
    assert len({json.dumps(each) for each in expected}) > 3


@pytest.mark.parametrize("algorithm", MAKERS)
def test_a_bundle_that_opa_built_and_signed_is_ours_too(opa: Opa, algorithm: str, tmp_path: Path) -> None:
    path = tmp_path / "theirs.tar.gz"
    key = ("--signing-key", opa.private(algorithm), "--signing-alg", algorithm)
    opa.good("build", "--bundle", "policies", *key, "--revision", "r7", "--output", path, cwd=ROOT)
    content = path.read_bytes()
    loaded = load_policy_tree(read_bundle(content, path, opa.verifier(algorithm, "default")))
    assert loaded.revision == "r7"
    assert loaded.data_digest == load_policy_set(POLICIES).data_digest
    assert by_opa(opa, content) == by_us(content)


def changed_files(files: Mapping[str, bytes]) -> dict[str, dict[str, bytes]]:
    """Return the files of a signed bundle with one of them extra, missing or changed."""
    rego = next(name for name in sorted(files) if name.endswith(".rego"))
    extra = {**files, "govgateway/authz/more.rego": b"package govgateway.authz.more\n"}
    missing = {name: content for name, content in files.items() if name != rego}
    data = {**files, "data.json": json.dumps({**json.loads(files["data.json"]), "govgateway": {}}).encode()}
    manifest = {**files, ".manifest": files[".manifest"].replace(b'"r1"', b'"r2"').replace(b'"r7"', b'"r8"')}
    return {
        "extra": extra,
        "missing": missing,
        "rego": {**files, rego: files[rego] + b"\n"},
        "data": data,
        "manifest": manifest,
        "unsigned": {name: content for name, content in files.items() if name != ".signatures.json"},
        "no signature": {**files, ".signatures.json": b'{"signatures": []}'},
    }


@pytest.mark.parametrize("change", ["extra", "missing", "rego", "data", "manifest", "unsigned", "no signature"])
def test_both_refuse_a_changed_bundle(opa: Opa, ours: Mapping[str, bytes], change: str) -> None:
    files = unpack_bundle(ours["EdDSA"])
    content = pack(changed_files(files)[change])
    done = opa.verified_run(content, "EdDSA", "data.govgateway")
    assert done.returncode != 0, done.stdout
    with pytest.raises(BundleError):
        read_bundle(content, Path("b"), opa.verifier("EdDSA"))
    same = pack(files)
    assert opa.verified_run(same, "EdDSA", "true").returncode == 0
    assert read_bundle(same, Path("b"), opa.verifier("EdDSA"))


def test_both_refuse_another_key(opa: Opa, ours: Mapping[str, bytes]) -> None:
    assert opa.verified_run(ours["EdDSA"], "ES256", "true").returncode != 0
    with pytest.raises(BundleError, match="was not made with the key release"):
        read_bundle(ours["EdDSA"], Path("b"), opa.verifier("ES256"))


def test_a_directory_signed_by_opa_and_packed_by_tar_is_verified(opa: Opa, tmp_path: Path) -> None:
    directory = tmp_path / "policies"
    shutil.copytree(POLICIES, directory)
    key = ("--signing-key", opa.private("ES256"), "--signing-alg", "ES256")
    opa.good("sign", "--bundle", ".", *key, cwd=directory)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for path in sorted(directory.rglob("*")):
            archive.add(path, path.relative_to(directory).as_posix(), recursive=False)
    tree = read_bundle(out.getvalue(), directory, opa.verifier("ES256", "any"))
    assert load_policy_tree(tree).data_digest == load_policy_set(POLICIES).data_digest
    assert opa.directory  # OPA reads such an archive with the key id that its user names
    assert opa.verified_run(out.getvalue(), "ES256", "true").returncode == 0


DOCUMENTS = (
    '{"b": 1, "a": {"z": [], "y": {}}, "": null, "A": true, "é": false}',
    '{"line": "\\u2028\\u2029\\u0085", "tags": "<b>&amp;\\u003c", "slash": "\\/", "low": "\\u0000\\u0007\\u001f\\u007f"}',
    '{"short": "\\b\\f\\n\\r\\t\\"\\\\", "pair": "\\ud83d\\ude00", "plain": "😀 ü \\u00fc"}',
    '{"numbers": [0, -0, 1.0, 1e3, 1E+3, 0.10, 123456789012345678901234567890, -1.5e-7]}',
    '{"\\ud83d\\ude00": 1, "\\uffee": 2, "z": 3, "\\u007f": 4}',
    ' { "spaces" : [ 1 , 2 ] }\n\n',
)
YAML = (
    "a: [1, two, null, true]\nb:\n  é: 'yes'\n  long: >\n    folded\n    text\n# a comment\nc: \"\\u2028\"\nd: |\n  x\n"
)


def test_documents_have_the_digest_that_opa_gives_them(opa: Opa, tmp_path: Path) -> None:
    for number, text in enumerate(DOCUMENTS):
        (tmp_path / f"j{number}").mkdir()
        (tmp_path / f"j{number}" / "data.json").write_text(text)
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "data.yaml").write_text(YAML)
    (tmp_path / "other.rego").write_text("package other\n")
    opa.good("sign", "--bundle", ".", "--signing-key", opa.private("ES256"), "--signing-alg", "ES256", cwd=tmp_path)
    (token,) = json.loads((tmp_path / ".signatures.json").read_text())["signatures"]
    payload = token.split(".")[1]
    listed = {each["name"]: each["hash"] for each in json.loads(urlsafe_b64decode(payload + "=="))["files"]}
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".signatures.json"]
    names = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in files}
    assert {name: digest(name, content, "SHA-256") for name, content in names.items()} == listed


def test_opa_verifies_our_digest_of_every_character(opa: Opa) -> None:
    text = "".join(map(chr, [*range(0x20, 0xD800), *range(0xE000, 0x10000), 0x1F600, 0x10FFFF]))
    data = json.dumps({"govgateway": {"text": text, "low": "".join(map(chr, range(0x20)))}}, ensure_ascii=False)
    files = {".manifest": MANIFEST.to_json(), "data.json": data.encode()}
    content = pack({**files, ".signatures.json": opa.signer("ES256").signatures(files)})
    done = opa.verified_run(content, "ES256", "count(data.govgateway.text)")
    assert done.returncode == 0, done.stderr
    assert str(len(text)) in done.stdout


def test_opa_reads_long_names_and_names_of_other_scripts(opa: Opa) -> None:
    names = [f"govgateway/{'x' * 150}/{'y' * 150}.rego", "govgateway/règles/ü.rego", "govgateway/a b.rego"]
    files = {".manifest": MANIFEST.to_json()}
    files |= {name: f"package govgateway.p{number}\n\nx := {number}\n".encode() for number, name in enumerate(names)}
    content = pack({**files, ".signatures.json": opa.signer("ES256").signatures(files)})
    done = opa.verified_run(content, "ES256", "[data.govgateway.p0.x, data.govgateway.p1.x, data.govgateway.p2.x]")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout[done.stdout.index("{") :])["result"][0]["expressions"][0]["value"] == [0, 1, 2]


def test_opa_reads_other_values_in_yaml_than_in_our_bundle(opa: Opa, tmp_path: Path) -> None:
    """The reason for writing JSON: if OPA reads YAML as the gateway does one day, YAML can be kept."""
    directory = tmp_path / "govgateway"
    directory.mkdir()
    (directory / "data.yaml").write_text("a: yes\nb: 1e3\nc: 0o7\nd: 1:30\n")
    (directory / "x.rego").write_text("package govgateway.x\n\nx := 1\n")
    bundle = tmp_path / "bundle.tar.gz"
    bundle.write_bytes(write_bundle(read_policy_tree(tmp_path), MANIFEST))
    query = ("--format=json", "object.filter(data.govgateway, {key | some key in {`a`, `b`, `c`, `d`}})")

    def values(path: Path) -> Any:
        return json.loads(opa.good("eval", "--bundle", path, *query))["result"][0]["expressions"][0]["value"]

    assert values(bundle) == {"a": True, "b": "1e3", "c": "0o7", "d": 90}
    bundle.unlink()
    assert values(tmp_path) == {"a": "yes", "b": 1000, "c": 7, "d": "1:30"}


def test_opa_and_we_agree_on_what_a_bundle_unpacks_to(opa: Opa, ours: Mapping[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "ours.tar.gz"
    path.write_bytes(ours["ES256"])
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(ours["ES256"]))) as archive:
        members = archive.getmembers()
    assert {member.name for member in members} == set(unpack_bundle(ours["ES256"]))
    assert opa.good("inspect", path)
