"""An OpenID Connect issuer on the loopback interface, over real HTTPS, for processes other than the test's own."""

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from identity.jwk import public_jwk
from tests.support.certificates import CertificateAuthority
from tests.support.https_server import loopback_leaf


class OidcIssuer:
    """Its address, the authority of its certificate, and the tokens it signs."""

    def __init__(self, url: str, ca_file: Path) -> None:
        self.url = url
        self.ca_file = ca_file
        self.key = ec.generate_private_key(ec.SECP256R1())

    def token(self, **claims: Any) -> str:
        """Sign a token with these claims; None leaves one out."""
        now = int(time.time())
        body = {"iss": self.url, "iat": now, "exp": now + 300} | claims
        return jwt.encode(
            {name: value for name, value in body.items() if value is not None},
            self.key, algorithm="ES256", headers={"kid": "key-1"},
        )  # fmt: skip

    def document(self, path: str) -> dict[str, Any] | None:
        """Return what is served at a path."""
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        if path == "/keys":
            return {"keys": [{**public_jwk(self.key.public_key()), "kid": "key-1", "use": "sig", "alg": "ES256"}]}
        return None


@contextmanager
def oidc_issuer(directory: Path) -> Iterator[OidcIssuer]:
    """Serve an issuer."""
    now = int(time.time())
    root = CertificateAuthority.root("web.test", now=now, uri="")
    ca_file = directory / "web.pem"
    ca_file.write_bytes(root.certificate.public_bytes(Encoding.PEM))
    leaf = loopback_leaf(root, now)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*leaf.files(directory))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            document = issuer.document(self.path)
            body = json.dumps(document or {}).encode()
            self.send_response(200 if document else 404)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    issuer = OidcIssuer(f"https://127.0.0.1:{server.server_address[1]}", ca_file)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
