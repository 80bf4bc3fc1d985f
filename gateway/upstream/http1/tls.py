"""TLS towards a backend: its certificate is always verified; files that changed are read again."""

import ssl
from pathlib import Path
from typing import Protocol

from gateway.errors import UnavailableError
from gateway.listener.tls import load_key_pair
from gateway.secrets.store import Resolved


class TlsFiles(Protocol):
    """PEM files for TLS; an empty name means the system's authorities, or no client certificate."""

    @property
    def ca_file(self) -> str: ...
    @property
    def client_cert_file(self) -> str: ...
    @property
    def client_key_file(self) -> str: ...


class BackendTls:
    """The TLS settings of one backend: TLS 1.2 or later, certificate and name verified, no way to turn that off."""

    def __init__(self, backend: TlsFiles) -> None:
        self._backend = backend
        self._files = [name for name in (backend.ca_file, backend.client_cert_file, backend.client_key_file) if name]
        self._versions: list[tuple[int, int, int]] = []
        self._context: ssl.SSLContext | None = None
        self._shown: Resolved | None = None

    def show(self, certificate: Resolved) -> bool:
        """Show a client certificate of a secret store in handshakes to come; return whether it is another one.

        Its fields: `chain` or `certificate`, and `private_key` (PEM), as Vault's PKI engine names them.

        Raises:
            UnavailableError: it is none.
        """
        if certificate is self._shown:
            return False
        chain = certificate.fields.get("chain") or certificate.fields.get("certificate")
        key = certificate.fields.get("private_key")
        if chain is None or key is None:
            raise UnavailableError(
                "The client certificate for the model server cannot be used.",
                remedy="The operator gives its path the fields certificate and private_key.",
                code="secret_malformed",
            )
        self._shown, self._context = certificate, None
        return True

    def context(self) -> ssl.SSLContext:
        """Return the context for a new connection, made anew after a file was replaced.

        Raises:
            OSError: a file is missing, unreadable or not PEM, or the key is not the certificate's
                (`ssl.SSLError` is an `OSError`).
        """
        versions = [_version(name) for name in self._files]
        if self._context is None or versions != self._versions:
            self._context = self._build()
            self._versions = versions
        return self._context

    def _build(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._backend.ca_file or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        if self._backend.client_cert_file:
            # An encrypted key fails here instead of asking a terminal for its passphrase.
            context.load_cert_chain(self._backend.client_cert_file, self._backend.client_key_file, password="")
        if self._shown is not None:
            fields = self._shown.fields
            chain = fields.get("chain") or fields["certificate"]
            load_key_pair(context, chain.reveal(), fields["private_key"].reveal())
        return context


def _version(name: str) -> tuple[int, int, int]:
    status = Path(name).stat()
    return status.st_ino, status.st_mtime_ns, status.st_size
