"""S3 on this machine (moto, a stand-in for Amazon's that checks no signature), with boto3 to look at what is there."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

REGION = "eu-west-1"


@dataclass
class S3Server:
    """A server that is up.

    Attributes:
        requests: method, path and query of each request.
    """

    url: str
    requests: list[tuple[str, str, str]] = field(default_factory=list)

    def client(self) -> Any:
        return boto3.client(
            "s3", endpoint_url=self.url, region_name=REGION, aws_access_key_id="judge",
            aws_secret_access_key="judge-secret", config=Config(s3={"addressing_style": "path"}),
        )  # fmt: skip

    def make_bucket(self, name: str, *, locks: bool = True) -> None:
        client = self.client()
        client.create_bucket(
            Bucket=name,
            CreateBucketConfiguration={"LocationConstraint": REGION},
            ObjectLockEnabledForBucket=locks,
        )
        client.close()

    def puts(self) -> list[str]:
        """Return the paths that were put, in order."""
        return [path for method, path, _ in self.requests if method == "PUT"]


@contextmanager
def s3_server() -> Iterator[S3Server]:
    inner = DomainDispatcherApplication(create_backend_app)
    state = S3Server("")

    def application(environ: dict[str, Any], start: Any) -> Any:
        state.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("QUERY_STRING", "")))
        return inner(environ, start)

    server = make_server("127.0.0.1", 0, application, threaded=True)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
