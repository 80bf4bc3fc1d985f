"""A control process with workers that answer their process id over TCP; driven through its pipes by tests.

Reads commands, one JSON document a line: `{"send": message}` to every worker, `{"drain": seconds}`. Writes
what happens, one JSON document a line.
"""

import asyncio
import dataclasses
import json
import os
import signal
import socket
import sys
from typing import Any

from gateway.listener.channel import Channel
from gateway.listener.workers import Supervisor, WorkerStartError


def worker(index: int, sock: socket.socket, channel: Channel, behaviour: str) -> None:
    """Serve until told to drain, or until the control process is gone."""
    if behaviour == "fails" and index == 1:
        raise RuntimeError("cannot start")
    asyncio.run(_serve(index, sock, channel, behaviour))


async def _serve(index: int, sock: socket.socket, channel: Channel, behaviour: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            writer.write(b"%d\n" % os.getpid())
        writer.close()

    await channel.open()
    server = await asyncio.start_server(answer, sock=sock)
    channel.send({"type": "ready"})
    while (message := await channel.receive()) is not None:
        if message["type"] == "drain":
            if behaviour == "stubborn":
                await asyncio.sleep(60)
            break
        channel.send({"type": "status", "index": index, "echo": message})
    server.close()


def say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def main(supervisor: Supervisor) -> int:
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader(limit=1_000_000)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    try:
        await supervisor.start(
            10,
            on_event=lambda event: say(**dataclasses.asdict(event)),
            on_message=lambda index, message: say(kind="message", index=index, message=message),
        )
    except WorkerStartError as error:
        say(kind="start-failed", detail=str(error))
        return 3
    say(kind="all-ready")
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    stopped = asyncio.create_task(stop.wait())
    seconds = 5.0
    while True:
        read = asyncio.create_task(commands.readline())
        await asyncio.wait({read, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            read.cancel()
            break
        command = json.loads(read.result())
        if "drain" in command:
            seconds = command["drain"]
            stopped.cancel()
            break
        supervisor.broadcast(command["send"])
    await supervisor.drain(seconds)
    say(kind="drained")
    return 0


if __name__ == "__main__":
    listening = socket.create_server(("127.0.0.1", 0))
    say(kind="port", port=listening.getsockname()[1])
    sys.exit(asyncio.run(main(Supervisor(worker, listening, int(sys.argv[1]), (sys.argv[2],)))))
