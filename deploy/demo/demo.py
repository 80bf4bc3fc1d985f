"""`make demo`: from an empty directory to a governed, audited model call, told step by step.

Everything shown is done by govctl and by the OpenAI SDK in processes of their own; this script only types the
commands and prints what they say.
"""

import argparse
import json
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from openbao import DemoVault

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
AGENT = "spiffe://demo.test/agent/researcher"
READY_SECONDS = 60


class DemoError(Exception):
    """A step of the demo failed; the message says which and why."""


class Demo:
    """Runs the steps; stops every process it started at the end."""

    def __init__(self, directory: Path, backend: str, *, pause: float) -> None:
        self.directory = directory
        self.backend = backend
        self.pause = pause
        self._step = 0
        self._children: list[subprocess.Popen[str]] = []

    def step(self, text: str) -> None:
        """Announce a step in plain words."""
        self._step += 1
        print(f"\n\033[1m{self._step}. {text}\033[0m" if sys.stdout.isatty() else f"\n{self._step}. {text}", flush=True)
        time.sleep(self.pause)

    def run(self, *command: str, expect: int = 0, env: dict[str, str] | None = None) -> str:
        """Type a command, print what it says, and return it."""
        print("   $ " + shlex.join(command), flush=True)
        process = subprocess.Popen(
            [self._program(command[0]), *command[1:]],
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**self._environment(), **(env or {})},
        )
        assert process.stdout is not None
        said = b""
        at_line_start = True
        while chunk := os.read(process.stdout.fileno(), 4096):
            said += chunk
            text = chunk.decode(errors="replace")
            if at_line_start:
                text = "     " + text
            at_line_start = text.endswith("\n")
            body = text[:-1] if at_line_start else text
            sys.stdout.write(body.replace("\n", "\n     ") + ("\n" if at_line_start else ""))
            sys.stdout.flush()
        if process.wait() != expect:
            raise DemoError(f"'{shlex.join(command)}' ended with status {process.returncode}, not {expect}")
        return said.decode(errors="replace")

    def start(self, *command: str, log: Path) -> subprocess.Popen[str]:
        """Start a process that keeps running; its output goes to `log`."""
        print("   $ " + shlex.join(command) + f"   (its log: {log.name})", flush=True)
        with log.open("w") as out:
            process = subprocess.Popen(
                [self._program(command[0]), *command[1:]],
                cwd=self.directory,
                stdout=subprocess.PIPE,
                stderr=out,
                text=True,
                env=self._environment(),
            )
        self._children.append(process)
        return process

    def wait_for_line(self, process: subprocess.Popen[str], pattern: str, log: Path) -> str:
        """Wait until the process prints a line that matches, and return the match."""
        assert process.stdout is not None
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if select.select([process.stdout], [], [], 0.2)[0]:
                line = process.stdout.readline()
                if found := re.search(pattern, line):
                    return found[0]
                if line:
                    continue
            if process.poll() is not None:
                raise DemoError(f"it ended with status {process.returncode}; its log says:\n{log.read_text()[-2000:]}")
        raise DemoError(f"it was not ready within {READY_SECONDS} s; its log says:\n{log.read_text()[-2000:]}")

    def stop(self) -> None:
        """Stop what was started, gracefully."""
        for process in reversed(self._children):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in reversed(self._children):
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()

    @staticmethod
    def _program(name: str) -> str:
        return sys.executable if name == "python" else name if "/" in name else str(BIN / name)

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "110"}


def play(demo: Demo, keep_running: bool, vault: DemoVault | None = None) -> None:
    """Show the main job; with a `vault`, the model server's key comes from there."""
    call = str(ROOT / "deploy" / "demo" / "call.py")
    if demo.backend:
        models: list[str] = []
        print(f"Model server: {demo.backend}")
    else:
        demo.step("A model server to stand behind the gateway: the example server, which says that it is one.")
        log = demo.directory / "example-model.log"
        server = str(ROOT / "deploy" / "example_model" / "server.py")
        key = ("--key-file", str(vault.key_file)) if vault is not None else ()
        process = demo.start("python", server, "--port", "0", "--delay-ms", "40", *key, log=log)
        url = demo.wait_for_line(process, r"http://127\.0\.0\.1:\d+", log)
        demo.backend = f"{url}/v1"
        models = ["--model", "example-chat", "--model", "example-hiring=hiring"]

    demo.step("A trust domain: its root, its signing authority, a configuration and the starter policies.")
    demo.run("govctl", "init", "--trust-domain", "demo.test", "--backend", demo.backend, *models)

    if vault is not None:
        vault.set_up(demo)

    demo.step("The gateway, listening with mutual TLS 1.3. Nobody without a certificate of this domain gets past it.")
    log = demo.directory / "gateway.log"
    gateway = demo.start("govctl", "up", log=log)
    demo.wait_for_line(gateway, r"[Rr]eady.*", log)
    print("     " + "ready: https://localhost:8443/v1")

    demo.step("An agent, registered with an owner and a purpose, and given an X.509-SVID for one hour.")
    demo.run(
        "govctl", "agent", "register", AGENT,
        "--team", "research", "--owner", "ada@demo.test", "--purpose", "reads papers and answers questions",
    )  # fmt: skip
    demo.run("govctl", "agent", "issue", AGENT, "--out", "researcher")

    model = first_model(demo)
    demo.step("The agent calls a model with the official OpenAI SDK. The certificate is its only credential.")
    demo.run("python", call, "--identity", "researcher", "--model", model, "What does a governance gateway do?")

    if vault is not None:
        vault.show_rotation(demo, ("python", call, "--identity", "researcher", "--model", model, "And now?"))

    demo.step("A call that the policy refuses, with the reason and what to do about it.")
    refused = "example-hiring" if models else "some-other-model"
    demo.run("python", call, "--identity", "researcher", "--model", refused, "Rank these applicants.", expect=3)

    demo.step("What the agent has used of its quotas.")
    demo.run("govctl", "quota", "show", AGENT)

    demo.step("The audit log: who, what, why; every link of the chain verified.")
    demo.run("govctl", "audit", "tail", "-n", "4")
    demo.run("govctl", "audit", "verify")

    print(
        f"""
That was it. The gateway keeps running until Ctrl-C. Try, in another terminal:

   cd {demo.directory}
   {BIN}/govctl agent suspend {AGENT} --reason "trying it out"
   {BIN}/python {call} --identity researcher --model {model} "Still there?"
   {BIN}/govctl audit tail --follow
"""
    )
    if keep_running:
        gateway.wait()


def first_model(demo: Demo) -> str:
    """Return the first model of the configuration, as govctl shows it."""
    shown = subprocess.run(
        [demo._program("govctl"), "config", "show", "--json"],
        cwd=demo.directory, check=True, capture_output=True, text=True,
    )  # fmt: skip
    name: str = json.loads(shown.stdout)["models"][0]["name"]
    return name


def main() -> int:
    """Run the demo in a directory of its own."""
    parser = argparse.ArgumentParser(description="From nothing to a governed, audited model call.")
    parser.add_argument("--backend", default="", help="base URL of an OpenAI-compatible server, with /v1")
    parser.add_argument("--directory", type=Path, default=ROOT / ".demo", help="where to work; emptied first")
    parser.add_argument("--secrets", choices=["none", "vault"], default="none", help="where the backend's key is")
    parser.add_argument("--exit", action="store_true", help="end after the last step instead of keeping running")
    parser.add_argument("--pause", type=float, default=0.4, help="pause before each step, seconds")
    arguments = parser.parse_args()
    directory = arguments.directory.resolve()
    if directory.exists():
        if any(directory.iterdir()) and not (directory / ".demo-directory").exists():
            print(f"{directory} is not empty and not of an earlier demo; name another with --directory.")
            return 1
        shutil.rmtree(directory)
    directory.mkdir(parents=True, mode=0o700)
    (directory / ".demo-directory").touch()
    demo = Demo(directory, arguments.backend, pause=arguments.pause)
    vault = DemoVault(directory) if arguments.secrets == "vault" else None
    if vault is not None and arguments.backend:
        parser.error("--secrets vault shows the example server's key; it goes without --backend")
    try:
        play(demo, not arguments.exit, vault)
    except DemoError as error:
        print(f"\nThe demo stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopping the gateway.")
    finally:
        demo.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
