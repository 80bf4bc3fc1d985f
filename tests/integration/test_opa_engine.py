"""The real OPA as a supervised child, asked over its socket: what it may do, and what happens when it fails."""

import asyncio
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.authorization.bundle import BundleSigner, write_bundle
from gateway.authorization.bundle.keys import generate_key_pair
from gateway.authorization.decision_form import MALFORMED_DENY
from gateway.authorization.engine import Decision
from gateway.authorization.manifest import Manifest
from gateway.authorization.opa import OpaEngine, OpaProcess
from gateway.authorization.policy_tree import PolicyTree, read_policy_tree
from gateway.errors import ConfigError, UnavailableError
from tests.support.scripted_backend import eventually
from tests.unit.authorization.conftest import call

pytestmark = pytest.mark.interop

ROOT = Path(__file__).resolve().parents[2]
OPA = ROOT / ".interop" / "bin" / "opa"
ODD = """package govgateway.authz
decision := {"allow": true, "reasons": [], "obligations": [], "cache_seconds": 0} if input.action == "good"
decision := "allow" if input.action == "string"
decision := {"allow": true, "reasons": [], "obligations": [{"type": "redact"}], "cache_seconds": 0} if {
	input.action == "obligation"
}
decision := {"allow": true, "reasons": [], "obligations": [], "cache_seconds": -1} if input.action == "negative"
decision := {"allow": true, "reasons": [], "obligations": [], "cache_seconds": 0} if input.action == "two"
decision := {"allow": true, "reasons": [], "obligations": [], "cache_seconds": 1} if input.action == "two"
decision := {"allow": true, "reasons": [], "obligations": [], "cache_seconds": 0} if {
	input.action == "builtin"
	not startswith(input.n, "x")
}
decision := {"allow": true, "reasons": [], "obligations": [], "cache_seconds": 0} if {
	input.action == "long"
	n := numbers.range(1, 5000)
	count([1 | some a in n; some b in n; a + b == -1]) == 0
}
"""


def bundle(path: Path, rego: str | None = None, revision: str = "r1", signer: BundleSigner | None = None) -> Path:
    """Write a bundle of the starter policies, or of one module."""
    tree = PolicyTree(path, {"govgateway/authz/a.rego": rego.encode()}) if rego else read_policy_tree(ROOT / "policies")
    path.write_bytes(write_bundle(tree, Manifest(revision, ("govgateway",)), signer))
    return path


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[OpaProcess]:
    process = OpaProcess(OPA, bundle(tmp_path / "b.tar.gz"), tmp_path / "s")
    assert not process.ready
    await process.start()
    yield process
    await process.stop()
    assert not process.ready
    assert process.pid is None


def engine(directory: Path, revision: str = "r1") -> OpaEngine:
    return OpaEngine(f"unix://{directory}/s", timeout_seconds=20, expected_revision=revision)


async def test_opa_decides_by_the_bundle_as_the_revision_it_names(process: OpaProcess, tmp_path: Path) -> None:
    assert process.ready
    assert process.detail == ""
    asked = engine(tmp_path)
    assert (await asked.decide(call())).allow
    assert not (await asked.decide(call(principal={"roles": []}))).allow
    asked.close()


async def test_opa_with_another_revision_than_the_gateway_decides_nothing(process: OpaProcess, tmp_path: Path) -> None:
    assert process.ready
    with pytest.raises(UnavailableError) as caught:
        await engine(tmp_path, "r2").decide(call())
    assert caught.value.code == "policy_engine_unavailable"
    assert "runs the revision r1, the gateway r2" in str(caught.value.__cause__)


async def test_child_gets_no_environment_and_no_descriptor_of_the_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOVGATEWAY_SECRET", "s3cret")
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    descriptor = os.open(secret, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    process = OpaProcess(OPA, bundle(tmp_path / "b.tar.gz"), tmp_path / "s")
    await process.start()
    assert b"s3cret" not in Path(f"/proc/{process.pid}/environ").read_bytes()
    entries = list(Path(f"/proc/{process.pid}/fd").iterdir())
    assert str(secret) not in {str(entry.readlink()) for entry in entries if entry.is_symlink()}
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
    await process.stop()
    os.close(descriptor)


async def test_opa_that_is_killed_is_started_again_and_nothing_passes_meanwhile(
    process: OpaProcess, tmp_path: Path
) -> None:
    asked = engine(tmp_path)
    assert (await asked.decide(call())).allow
    before = process.pid
    assert before is not None
    os.kill(before, signal.SIGSTOP)
    while Path(f"/proc/{before}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        await asyncio.sleep(0.01)  # a signal takes effect when the process is next looked at
    slow = OpaEngine(f"unix://{tmp_path}/s", timeout_seconds=0.05)
    with pytest.raises(UnavailableError):
        await slow.decide(call())
    os.kill(before, signal.SIGKILL)
    await eventually(lambda: not process.ready)
    assert "OPA ended with status -9" in process.detail
    with pytest.raises(UnavailableError):
        await asked.decide(call())
    await eventually(lambda: process.ready, 30)
    assert process.pid != before
    assert (await asked.decide(call())).allow
    asked.close()


@pytest.mark.parametrize("kind", ["string", "obligation", "negative", "two", "builtin", "none of them"])
async def test_policy_that_misbehaves_in_opa_is_a_deny(tmp_path: Path, kind: str) -> None:
    process = OpaProcess(OPA, bundle(tmp_path / "b.tar.gz", ODD), tmp_path / "s")
    await process.start()
    asked = engine(tmp_path)
    assert await asked.decide({"action": kind, "n": 5}) is MALFORMED_DENY
    assert await asked.decide({"action": "good"}) == Decision(allow=True)
    assert asked.malformed == 1
    asked.close()
    await process.stop()


async def test_policy_that_takes_long_in_opa_is_unavailable_at_the_deadline(tmp_path: Path) -> None:
    process = OpaProcess(OPA, bundle(tmp_path / "b.tar.gz", ODD), tmp_path / "s")
    await process.start()
    impatient = OpaEngine(f"unix://{tmp_path}/s", timeout_seconds=0.1, expected_revision="r1")
    with pytest.raises(UnavailableError):
        await impatient.decide({"action": "long"})
    impatient.close()
    await process.stop()


async def test_program_that_is_not_there_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Install OPA .* or set policy\.engine: embedded"):
        OpaProcess(tmp_path / "opa", tmp_path / "b.tar.gz", tmp_path / "s")


@pytest.mark.parametrize("content", [None, b"not a bundle"])
async def test_bundle_that_opa_does_not_take_is_refused_with_its_words(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "b.tar.gz").write_bytes(content)
    process = OpaProcess(OPA, tmp_path / "b.tar.gz", tmp_path / "s")
    with pytest.raises(ConfigError, match=r"OPA ended with status 1 at its start\. Its last words: .*b\.tar\.gz"):
        await process.start()
    assert process.pid is None


async def test_signed_bundle_that_the_gateway_verified_is_taken(tmp_path: Path) -> None:
    private, _ = generate_key_pair("ES256")
    signed = bundle(tmp_path / "b.tar.gz", signer=BundleSigner(private, "ci"))
    process = OpaProcess(OPA, signed, tmp_path / "s")
    await process.start()
    assert (await engine(tmp_path).decide(call())).allow
    await process.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
async def test_opa_ends_with_a_gateway_that_is_killed(tmp_path: Path) -> None:
    program = f"""
        import asyncio
        from pathlib import Path
        from gateway.authorization.opa import OpaProcess
        async def main():
            directory = Path({str(tmp_path)!r})
            process = OpaProcess(Path({str(OPA)!r}), directory / "b.tar.gz", directory / "s")
            await process.start()
            print(process.pid, flush=True)
            await asyncio.sleep(60)
        asyncio.run(main())
    """
    bundle(tmp_path / "b.tar.gz")
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(program), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert parent.stdout is not None
    line = await parent.stdout.readline()
    while not line.strip().isdigit():
        assert line, "OPA did not start"
        line = await parent.stdout.readline()
    assert _runs(int(line))
    parent.kill()
    await parent.wait()
    await eventually(lambda: not _runs(int(line)))


def _runs(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
