"""A real gateway in processes of its own, set up and started with govctl as a user would."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support import forked_govctl
from tests.support.wrong_records import wrong_records

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parents[2]
TRUST_DOMAIN = "gateway.test"
READY_SECONDS = 40

INVENTORY_SECONDS = 1.0
"""When every process of a gateway knows what was registered: each looks at least twice a second, and says nothing."""


def free_port() -> int:
    """Return a TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def govctl(
    directory: Path, *arguments: str, check: bool = True, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run govctl in `directory`."""
    done = forked_govctl.run(directory, *arguments, env={**os.environ, "COLUMNS": "200", **(env or {})}, timeout=60)
    if check and done.returncode != 0:
        raise AssertionError(f"govctl {' '.join(arguments)} failed ({done.returncode}):\n{done.stdout}\n{done.stderr}")
    return done


@dataclass
class AgentFiles:
    """What `govctl agent issue` wrote."""

    id: str
    directory: Path

    def tls(self) -> ssl.SSLContext:
        """Return a client context that presents this identity and verifies the gateway."""
        context = ssl.create_default_context(cafile=str(self.directory / "bundle.pem"))
        context.load_cert_chain(self.directory / "svid.pem", self.directory / "svid.key")
        return context


class RunningGateway:
    """One gateway on ports of its own in a directory of its own."""

    def __init__(
        self,
        directory: Path,
        backend: str,
        models: list[str],
        changes: dict[str, Any] | None = None,
        trust_domain: str = TRUST_DOMAIN,
    ) -> None:
        self.directory = directory
        self.trust_domain = trust_domain
        self.port, self.admin_port, self.operations_port = free_port(), free_port(), free_port()
        self.endpoint_port = free_port()
        self.log_path = directory / "gateway.log"
        self._process: subprocess.Popen[bytes] | None = None
        arguments = ["init", "--dir", str(directory), "--trust-domain", trust_domain, "--backend", backend]
        for model in models:
            arguments += ["--model", model]
        govctl(directory.parent, *arguments)
        self.edit_config(
            {
                "listener": {"port": self.port},
                "admin": {"port": self.admin_port},
                "operations": {"port": self.operations_port},
                "identity": {"endpoint": {"port": self.endpoint_port}},
            }
        )
        if changes:
            self.edit_config(changes)

    @property
    def config_path(self) -> Path:
        """The configuration file."""
        return self.directory / "govgateway.yaml"

    @property
    def base_url(self) -> str:
        """Where agents call."""
        return f"https://localhost:{self.port}/v1"

    @property
    def operations_url(self) -> str:
        """Where health and metrics are."""
        return f"http://127.0.0.1:{self.operations_port}"

    @property
    def pid(self) -> int:
        """Process id of the control process."""
        assert self._process is not None
        return self._process.pid

    def edit_config(self, changes: dict[str, Any]) -> None:
        """Merge `changes` into the configuration file."""
        document = yaml.safe_load(self.config_path.read_text())
        _merge(document, changes)
        self.config_path.write_text(yaml.safe_dump(document))

    def edit_data(self, name: str, document: Any) -> None:
        """Replace a data file of the policies, for instance `limits`."""
        path = self.directory / "policies" / "govgateway" / name / "data.yaml"
        path.write_text(yaml.safe_dump(document))

    def start(self, *, workers: int = 1, env: dict[str, str] | None = None, wait: bool = True) -> None:
        """Start the gateway and wait until it is ready."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [BIN / "govctl", "up", "--workers", str(workers)],
                cwd=self.directory, stdout=log, stderr=log, env={**os.environ, **(env or {})},
            )  # fmt: skip
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until /readyz says that every part is ready."""
        deadline = time.monotonic() + READY_SECONDS
        said = ""
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                raise AssertionError(f"the gateway ended with {self._process.returncode}:\n{self.log()}")
            try:
                answer = httpx.get(self.operations_url + "/readyz", timeout=2)
                if answer.status_code == 200:
                    return
                said = answer.text
            except httpx.TransportError as error:
                said = repr(error)
            time.sleep(0.1)
        raise AssertionError(f"not ready within {READY_SECONDS} s: {said}\n{self.log()}")

    def stop(self, how: signal.Signals = signal.SIGTERM, timeout: float = 20) -> int:
        """Stop the gateway and return its exit status. Every record that it left is as its type's definition says."""
        if self._process is None:
            return 0
        status = self._ended(how, timeout)
        wrong = wrong_records(self.directory / "state" / "audit")
        assert not wrong, "\n".join(wrong)
        return status

    def end(self) -> None:
        """Stop the gateway; its log may be one that a test changed."""
        if self._process is not None:
            self._ended(signal.SIGTERM, 20)

    def _ended(self, how: signal.Signals, timeout: float) -> int:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(how)
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
            raise AssertionError(f"the gateway did not stop within {timeout} s:\n{self.log()}") from None
        finally:
            self._process = None

    def kill_everything(self) -> None:
        """Kill the control process and its workers at once, as a power cut would."""
        assert self._process is not None
        for pid in [*self.worker_pids(), *_children(self.pid), self.pid]:
            os.kill(pid, signal.SIGKILL)
        self._process.wait(5)
        self._process = None

    def worker_pids(self) -> list[int]:
        """Return the process ids of the workers: the children of the process that forks them."""
        forker = _children(self.pid)
        return [pid for parent in forker for pid in _children(parent)]

    def children(self) -> list[int]:
        """Return the process ids of what the control process started."""
        return _children(self.pid)

    def ready(self) -> dict[str, Any]:
        """Return the readiness document."""
        document: dict[str, Any] = httpx.get(self.operations_url + "/readyz", timeout=5).json()
        return document

    def metrics(self) -> str:
        """Return the metrics in Prometheus' text format."""
        return httpx.get(self.operations_url + "/metrics", timeout=5).text

    def log(self) -> str:
        """Return the end of what the gateway logged."""
        return self.log_path.read_text(errors="replace")[-6000:] if self.log_path.exists() else ""

    def register(
        self,
        name: str,
        *,
        team: str = "research",
        kind: str = "agent",
        owner: str = "ada@gateway.test",
        issue: bool = True,
    ) -> AgentFiles:
        """Register an identity, by its ID or its path in this trust domain; issue its certificate; let the gateway know."""
        identity = name if name.startswith("spiffe://") else f"spiffe://{self.trust_domain}/{name}"
        govctl(
            self.directory,
            "agent", "register", identity, "--team", team, "--owner", owner, "--purpose", "a test",
            "--kind", kind,
        )  # fmt: skip
        files = AgentFiles(identity, self.directory / name.removeprefix("spiffe://").replace("/", "-"))
        if issue:
            govctl(self.directory, "agent", "issue", identity, "--out", str(files.directory))
        if self._process is not None:
            time.sleep(INVENTORY_SECONDS)
        return files

    def records(self, count: int = 1000) -> list[dict[str, Any]]:
        """Return the last records of the audit log, oldest first."""
        done = govctl(self.directory, "audit", "tail", "-n", str(count), "--json")
        return [json.loads(line) for line in done.stdout.splitlines()]


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _merge(into: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value
