"""The control socket: for the user that runs the gateway alone, bounded, and every answer names its cause."""

import asyncio
import json
import socket
import stat

import pytest

from gateway import local_control
from gateway.errors import ConfigError, UnavailableError
from gateway.local_control import LocalControl, NotRunningError, ask


async def echo(by, request, content):
    return {"by": by, "said": request.get("said"), "size": len(content)}


async def refuse(by, request, content):
    raise ConfigError("not like this")


async def away(by, request, content):
    raise UnavailableError("the log is full", remedy="Make room.", code="x")


async def defect(by, request, content):
    raise RuntimeError("secret detail")


@pytest.fixture
async def state_dir(tmp_path):
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    server = LocalControl(deep, {"echo": echo, "refuse": refuse, "away": away, "defect": defect})
    await server.start()
    yield deep
    await server.close()
    assert not (deep / "control.sock").exists()


async def asked(state_dir, *arguments):
    return await asyncio.to_thread(ask, state_dir, *arguments)


async def raw(state_dir, sent: bytes) -> dict:
    """Send bytes of any kind."""

    def exchange() -> bytes:
        with socket.socket(socket.AF_UNIX) as sock, local_control._reachable(state_dir) as address:
            sock.settimeout(5)
            sock.connect(address)
            sock.sendall(sent)
            sock.shutdown(socket.SHUT_WR)
            return sock.recv(65_536)

    answer = await asyncio.to_thread(exchange)
    return json.loads(answer) if answer else {}


async def test_a_request_is_answered_in_the_name_of_who_the_kernel_says_asked(state_dir):
    answer = await asked(state_dir, "echo", {"said": "hello", "by": "somebody else"}, b"x" * 100_000)
    assert answer["said"] == "hello"
    assert answer["size"] == 100_000
    assert answer["by"].startswith("operator:")
    assert answer["by"] != "somebody else"


async def test_the_socket_is_its_owners_alone_however_deep_it_lies(state_dir):
    assert len(str(state_dir)) > 108
    assert stat.S_IMODE((state_dir / "control.sock").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("op", "why"), [("refuse", "not like this"), ("away", "the log is full. Make room|the log is full Make room")]
)
async def test_a_refusal_carries_its_cause(state_dir, op, why):
    with pytest.raises(ConfigError, match=why):
        await asked(state_dir, op)


async def test_a_defect_says_that_the_log_knows_more_and_nothing_else(state_dir):
    with pytest.raises(ConfigError) as caught:
        await asked(state_dir, "defect")
    assert "its log says why" in str(caught.value)
    assert "secret detail" not in str(caught.value)


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\n",
        b"[]\n",
        b'{"op": "nothing", "bytes": 0}\n',
        b'{"op": "echo"}\n',
        b'{"op": "echo", "bytes": -1}\n',
        b'{"op": "echo", "bytes": 1e9}\n',
        b'{"op": "echo", "bytes": 99999999999}\n',
        b'{"op": "echo", "bytes": true}\n',
        b'{"op": ["echo"], "bytes": 0}\n',
        b"x" * 200_000,
    ],
)
async def test_what_is_no_request_is_refused(state_dir, sent):
    answer = await raw(state_dir, sent)
    assert answer.get("ok") is not True
    assert (await asked(state_dir, "echo"))["size"] == 0, "it serves on"


async def test_a_request_that_ends_early_gets_no_answer(state_dir):
    assert await raw(state_dir, b'{"op": "echo", "bytes": 10}\nabc') == {}
    assert await raw(state_dir, b"") == {}


async def test_another_user_is_refused_whatever_it_asks(state_dir, monkeypatch):
    monkeypatch.setattr(local_control, "_peer_uid", lambda sock: 12_345)
    with pytest.raises(ConfigError, match="does not run this gateway"):
        await asked(state_dir, "echo")


async def test_a_socket_left_behind_is_replaced_and_without_a_gateway_it_is_said(tmp_path):
    with pytest.raises(NotRunningError, match="govctl up"):
        ask(tmp_path, "echo")
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "control.sock"))
    left.close()
    with pytest.raises(NotRunningError, match="govctl up"):
        await asked(tmp_path, "echo")
    server = LocalControl(tmp_path, {"echo": echo})
    await server.start()
    assert (await asked(tmp_path, "echo"))["size"] == 0
    await server.close()
