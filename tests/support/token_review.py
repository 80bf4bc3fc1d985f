"""A stand-in for the TokenReview API of Kubernetes, over TLS: it knows the service account tokens that it made.

Of a Kubernetes API server it has this one call (authentication.k8s.io/v1) and nothing else.
"""

import json
import ssl
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from identity.jws import sign_compact
from tests.support.certificates import CertificateAuthority
from tests.support.https_server import loopback_leaf

PATH = "/apis/authentication.k8s.io/v1/tokenreviews"


class TokenReviewStandIn:
    """Its address, the authority of its certificate, and the tokens of its service accounts.

    Attributes:
        url: its address.
        ca_pem: the authority of its certificate.
        reviewer_token: who may ask for a review, as a bearer token.
        reviews: how often somebody asked.
    """

    def __init__(self, url: str, ca_pem: str) -> None:
        self.url, self.ca_pem = url, ca_pem
        self.reviews = 0
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._known: dict[str, dict[str, Any]] = {}
        self.reviewer_token = self.token("kube-system", "token-reviewer", [url])

    def token(self, namespace: str, name: str, audiences: Sequence[str]) -> str:
        """Make a token of a service account, as the kubelet projects it into a pod."""
        now, uid = int(time.time()), str(uuid.uuid4())
        user = f"system:serviceaccount:{namespace}:{name}"
        account = {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}}
        claims = {"iss": self.url, "sub": user, "aud": list(audiences), "iat": now, "nbf": now, "exp": now + 3600}
        token = sign_compact(self._key, "key-1", claims | {"kubernetes.io": account})
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
        self._known[token] = {
            "user": {"username": user, "uid": uid, "groups": groups},
            "audiences": list(audiences),
        }
        return token

    def forget(self, token: str) -> None:
        """Let a token be unknown, as when its service account is deleted."""
        del self._known[token]

    def review(self, authorization: str, review: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Return the status and the answer to a request."""
        self.reviews += 1
        if authorization != f"Bearer {self.reviewer_token}":
            return 401, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 401}
        known = self._known.get(review["spec"]["token"])
        wanted = review["spec"].get("audiences") or [self.url]  # without audiences, it is the API server itself
        shared = [audience for audience in known["audiences"] if audience in wanted] if known else []
        if known is None or not shared:
            status: dict[str, Any] = {"authenticated": False, "error": "invalid bearer token"}
        else:
            status = {"authenticated": True, "user": known["user"], "audiences": shared}
        return 201, {**review, "status": status}


@contextmanager
def token_review(directory: Path) -> Iterator[TokenReviewStandIn]:
    """Serve the stand-in."""
    now = int(time.time())
    root = CertificateAuthority.root("kubernetes.test", now=now, uri="")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*loopback_leaf(root, now).files(directory))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path == PATH:
                status, answer = stand_in.review(self.headers.get("authorization", ""), json.loads(body))
            else:
                status, answer = 404, {}
            encoded = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = f"https://127.0.0.1:{server.server_address[1]}"
    stand_in = TokenReviewStandIn(url, root.certificate.public_bytes(Encoding.PEM).decode())
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
