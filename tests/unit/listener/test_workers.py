"""A worker is ready once it says so and is known to have started, in whichever order the two are heard."""

import asyncio
import json
import socket

import pytest

from gateway.listener.channel import Channel
from gateway.listener.workers import Supervisor, WorkerEvent
from gateway.listener.zygote import Zygote


class QuickWorkers(Zygote):
    """A stand-in for the process that forks: its workers say that they are ready before it reports their start."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        super().__init__(0, ours)
        self.late: list[int] = []

    def spawn(self, index: int, channel: socket.socket) -> None:
        asyncio.get_running_loop().create_task(self._run(index, channel))

    async def _run(self, index: int, sock: socket.socket) -> None:
        channel = Channel(sock)
        await channel.open()
        channel.send({"type": "ready"})
        channel.send({"type": "status"})
        self.late.append(index)
        while (message := await channel.receive()) is not None and message["type"] != "drain":
            pass
        channel.close()
        self.theirs.send(json.dumps({"index": index, "pid": 100 + index, "exit": 0}).encode())

    def report_starts(self) -> None:
        for index in self.late:
            self.theirs.send(json.dumps({"index": index, "pid": 100 + index}).encode())

    def close(self) -> None:
        self.control.close()
        self.theirs.close()


async def test_a_start_is_not_over_before_every_worker_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = QuickWorkers()
    monkeypatch.setattr(Zygote, "fork", lambda _: quick)
    with socket.socket() as unused:
        supervisor = Supervisor(lambda *_: None, unused, 2)
    events: list[WorkerEvent] = []
    statuses = asyncio.Queue[int]()
    starting = asyncio.create_task(
        supervisor.start(30, on_event=events.append, on_message=lambda index, _: statuses.put_nowait(index))
    )
    assert {await statuses.get(), await statuses.get()} == {0, 1}  # both have said that they are ready before
    assert not starting.done()
    quick.report_starts()
    await starting
    assert [(event.kind, event.index, event.pid) for event in events] == [
        ("started", 0, 100),
        ("ready", 0, 100),
        ("started", 1, 101),
        ("ready", 1, 101),
    ]
    await supervisor.drain(30)
    assert [event.kind for event in events[4:]] == ["exited", "exited"]
