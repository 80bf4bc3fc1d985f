"""What the listener tells the rest of the gateway: connections, failed handshakes, refused requests."""

from typing import Protocol

from gateway.listener.peer import Peer


class ListenerObserver(Protocol):
    """Receives the listener's events. Called on the event loop: every method returns at once."""

    def handshake_failed(self, rule: str, detail: str) -> None:
        """A connection ended before its peer was known; `rule` is a stable slug, `detail` has the address."""

    def connection_opened(self, peer: Peer) -> None:
        """A TLS handshake ended and the peer's chain was verified or refused."""

    def connection_closed(self, peer: Peer) -> None:
        """The TCP connection of an opened connection is gone."""

    def request_refused(self, rule: str, peer: Peer, detail: str) -> None:
        """The listener refused or cut a request on its own; the application did not answer it."""
