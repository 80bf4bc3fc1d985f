"""A proxy in front of a Unix socket that can swallow an answer and cut the connection: what a lost network looks like."""

import contextlib
import socket
import threading
from pathlib import Path


class CuttingProxy:
    """Passes bytes both ways until told otherwise.

    Attributes:
        port: port of the proxy on the loopback address.
        swallow: text in a request after which nothing of the server's answer is passed on; the client's connection is
            cut when the server has answered. None: everything passes.
        hang: do not cut: leave both connections open, as a network that drops packets does.
    """

    def __init__(self, upstream: Path) -> None:
        self.swallow: bytes | None = None
        self.hang = False
        self.cuts = 0
        self._upstream = upstream
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Cut everything and stop."""
        for end in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(str(self._upstream))
            except OSError:
                server.close()
                client.close()
                continue
            self._open += [client, server]
            swallowing = threading.Event()
            for pair in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pass, args=(*pair, swallowing), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, to_server: bool, swallowing: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if to_server:
                    if self.swallow is not None and self.swallow in data:
                        self.swallow = None
                        swallowing.set()
                elif swallowing.is_set():
                    self.cuts += 1
                    if self.hang:
                        continue
                    break
                sink.sendall(data)
        if not (swallowing.is_set() and self.hang):
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
