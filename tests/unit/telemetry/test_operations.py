"""What probes are told."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.telemetry.operations import OperationsApp, Part


def ask(path: str, method: str = "GET", parts: dict[str, Part] | None = None, metrics: str = "") -> tuple[int, bytes]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("a probe's body was read")

    app = OperationsApp(lambda: parts or {}, metrics)
    asyncio.run(app({"type": "http", "method": method, "path": path}, receive, send))
    head, body = sent
    if method != "HEAD":
        assert dict(head["headers"])[b"content-length"] == b"%d" % len(body["body"])
    return head["status"], body["body"]


def test_a_part_that_does_not_work_makes_the_gateway_unready_and_says_which_and_why() -> None:
    status, body = ask("/readyz", parts={"policy": Part(True), "audit": Part(False, "The disk is full.")})
    assert status == 503
    assert orjson.loads(body) == {
        "ready": False,
        "parts": {"policy": {"ready": True}, "audit": {"ready": False, "detail": "The disk is full."}},
    }


def test_it_is_ready_when_all_parts_work() -> None:
    assert ask("/readyz", parts={"policy": Part(True), "audit": Part(True)})[0] == 200


def test_it_is_alive_although_it_is_not_ready() -> None:
    assert ask("/healthz", parts={"audit": Part(False)})[0] == 200


def test_metrics_are_those_of_the_directory(tmp_path: Path) -> None:
    assert ask("/metrics", metrics=str(tmp_path)) == (200, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_probes_only_read(method: str) -> None:
    assert ask("/readyz", method)[0] == 405


def test_a_head_has_no_body() -> None:
    assert ask("/readyz", "HEAD") == (200, b"")


@pytest.mark.parametrize("path", ["/", "/metrics/", "/readyz/x", "/v1/models"])
def test_other_paths_are_not_found(path: str) -> None:
    assert ask(path)[0] == 404
