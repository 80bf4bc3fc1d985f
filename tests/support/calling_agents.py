"""Agents in a process of their own, which lives in the time that it was started in and calls what it is told."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx

from tests.support.running_gateway import ROOT, AgentFiles

TRIES = 100
"""How often a connection is tried, a twentieth of a second apart."""


@dataclass(frozen=True)
class Answered:
    """What an agent got.

    Attributes:
        status: HTTP status; 0 where no connection was made.
        call: its x-request-id.
        body: the answer; of a stream nothing, without one why there is none.
    """

    status: int
    call: str
    body: Mapping[str, Any]


class CallingAgents:
    """The process. Calls of one batch go over one connection, one after the other."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=10)

    def call(self, agent: AgentFiles, bodies: Sequence[Mapping[str, Any]]) -> list[Answered]:
        """Call as an agent."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        batch = {"url": self._base_url, "directory": str(agent.directory), "bodies": list(bodies)}
        self._process.stdin.write(json.dumps(batch) + "\n")
        self._process.stdin.flush()
        return [Answered(**each) for each in json.loads(self._process.stdout.readline())]


def _serve() -> None:
    for line in sys.stdin:
        batch = json.loads(line)
        tls = AgentFiles("", Path(batch["directory"])).tls()
        with httpx.Client(base_url=batch["url"], verify=tls, trust_env=False, timeout=15) as client:
            answers = [_call(client, body) for body in batch["bodies"]]
        sys.stdout.write(json.dumps(answers) + "\n")
        sys.stdout.flush()


def _call(client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    for _ in range(TRIES):
        try:
            answer = client.post("/embeddings" if "input" in body else "/chat/completions", json=body)
            break
        except httpx.ConnectError as error:
            # Just after time went forward, the gateway may still show a certificate that it is about to renew.
            failed: Exception = error
            time.sleep(0.05)
        except httpx.TransportError as error:
            return {"status": 0, "call": "", "body": {"transport": str(error)}}
    else:
        return {"status": 0, "call": "", "body": {"transport": str(failed)}}
    said = answer.json() if answer.headers.get("content-type", "").startswith("application/json") else {}
    return {"status": answer.status_code, "call": answer.headers.get("x-request-id", ""), "body": said}


if __name__ == "__main__":
    _serve()
