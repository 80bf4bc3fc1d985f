"""A real OpenBao in a directory of its own, over TLS and with an audit device, reached on the loopback interface."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import hvac
import requests
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.certificates import CertificateAuthority
from tests.support.https_server import loopback_leaf
from tests.support.running_gateway import free_port

PATIENCE = 60
"""How long a test waits for what must happen (seconds)."""

CONFIGURATION = """\
storage "raft" {{
  path = "{directory}/raft"
  node_id = "one"
  performance_multiplier = 1
}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_cert_file = "{directory}/server.pem"
  tls_key_file = "{directory}/server.key"
}}
audit "file" "file" {{
  options {{
    file_path = "{audit_log}"
  }}
}}
api_addr = "https://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster_port}"
"""


class OpenBaoServer:
    """One server that leads alone; `start`, `seal`, `pause`, `stop` and `kill` it as often as needed.

    Attributes:
        address: its URL.
        ca_file: the authority of the server's certificate, PEM; stays the first one.
        new_ca_file: the authority that `replace_ca` made last.
        audit_log: where the audit device writes, one JSON document a line.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "raft").mkdir()
        port = free_port()
        self.address = f"https://127.0.0.1:{port}"
        self.ca_file = directory / "ca.pem"
        self.new_ca_file = directory / "new-ca.pem"
        self.audit_log = directory / "audit.log"
        self._current_ca = self.ca_file
        self._make_certificates()
        (directory / "openbao.hcl").write_text(
            CONFIGURATION.format(directory=directory, port=port, audit_log=self.audit_log, cluster_port=free_port())
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[hvac.Client] = []
        self._root: hvac.Client | None = None
        self._unseal_key = self.root_token = ""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        for client in self._clients:
            client.adapter.close()

    def start(self, *, unseal: bool = True) -> None:
        """Start the process and wait until it answers; the first time, initialise it with one key share."""
        assert self._process is None, "it runs already"
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [Path(sys.executable).with_name("bao"), "server", "-config", self.directory / "openbao.hcl"],
                cwd=self.directory,
                env={"PATH": os.defpath, "HOME": str(self.directory), "TZ": "UTC"},
                stdout=log,
                stderr=log,
            )
        client = self.client()
        self._wait_until(client.sys.read_seal_status, "answers")
        if not self._unseal_key:
            made = client.sys.initialize(secret_shares=1, secret_threshold=1)
            self._unseal_key, self.root_token = made["keys"][0], made["root_token"]
        if unseal:
            self.unseal()

    def stop(self) -> None:
        """End it as an operator does, also when it is paused."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it take connections and answer nothing."""
        self._signal(signal.SIGSTOP)
        assert self._process is not None
        tasks = Path(f"/proc/{self._process.pid}/task")
        deadline = time.monotonic() + PATIENCE
        while not all(_stopped(task) for task in tasks.iterdir()):  # the signal reaches one thread after another
            assert time.monotonic() < deadline, "OpenBao was not stopped"
            time.sleep(0.01)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._signal(signal.SIGCONT)

    def seal(self) -> None:
        """Seal it: it answers 503 and gives nothing until `unseal`."""
        self.root.sys.seal()
        self._wait_until(self.root.sys.is_sealed, "is sealed")

    def unseal(self) -> None:
        """Unseal it and wait until it leads."""
        client = self.client()
        client.sys.submit_unseal_key(self._unseal_key)
        self._wait_until(lambda: client.sys.read_leader_status()["is_self"], "leads")

    def replace_ca(self) -> None:
        """Give the server a certificate of a new authority, `new_ca_file`, at once if it runs; nothing else changes."""
        self._current_ca = self.new_ca_file
        self._root = None
        self._make_certificates()
        if self._process is not None:
            self._signal(signal.SIGHUP)
            client = self.client()
            self._wait_until(client.sys.read_seal_status, "shows the new certificate")

    def client(
        self,
        token: str = "",
        *,
        cert: tuple[Path, Path] | None = None,
        ca_file: Path | None = None,
        timeout: float = 30,
    ) -> hvac.Client:
        """Return a client that trusts the current authority, or that in `ca_file`; `timeout` in seconds.

        It heeds no variable of the environment and follows no redirect. `cert` is a chain and its key, for `cert_role`.
        """
        session = requests.Session()
        session.trust_env = False
        session.verify = str(ca_file or self._current_ca)
        session.cert = (str(cert[0]), str(cert[1])) if cert else None
        client = hvac.Client(self.address, token, session=session, timeout=timeout, allow_redirects=False)
        self._clients.append(client)
        return client

    @property
    def root(self) -> hvac.Client:
        """A client with the root token."""
        if self._root is None:
            self._root = self.client(self.root_token)
        return self._root

    @property
    def log(self) -> str:
        """What the server wrote."""
        return (self.directory / "log").read_text(errors="replace")

    def _make_certificates(self) -> None:
        now = int(time.time())
        authority = CertificateAuthority.root("openbao.test", now=now, uri="")
        leaf = loopback_leaf(authority, now, "localhost")
        key = self.directory / "server.key"
        key.touch(0o600)
        key.write_bytes(leaf.key_pem)
        (self.directory / "server.pem").write_bytes(leaf.chain_pem)
        self._current_ca.write_bytes(authority.certificate.public_bytes(Encoding.PEM))

    def _wait_until(self, condition: Callable[[], Any], what: str) -> None:
        """Ask until it holds; a server that does not answer, or refuses, is asked again."""
        deadline = time.monotonic() + PATIENCE
        problem: Exception | None = None
        while True:
            try:
                if condition():
                    return
            except (requests.RequestException, hvac.exceptions.VaultError) as error:
                problem = error
            assert self._process is not None, f"OpenBao was ended before it {what}"
            assert self._process.poll() is None, f"OpenBao ended before it {what}:\n{self._last_lines}"
            assert time.monotonic() < deadline, f"OpenBao never {what}: {problem}\n{self._last_lines}"
            time.sleep(0.02)

    @property
    def _last_lines(self) -> str:
        return "\n".join(self.log.splitlines()[-30:])

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "it does not run"
        self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        self._process.send_signal(signal.SIGCONT)
        self._process.wait(PATIENCE)
        self._process = None


def _stopped(task: Path) -> bool:
    """Whether a thread is stopped (proc_pid_stat(5): the state comes after the name in parentheses)."""
    try:
        return task.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:  # it ended
        return True
