"""Signatures of requests to AI services, with botocore as the judge."""

from datetime import UTC, datetime

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given
from hypothesis import strategies as st

from audit.anchors.sigv4 import Credentials, signed_headers

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
HOST = "bedrock-runtime.eu-west-1.amazonaws.com"


def judged(path: str, body: bytes, token: str, sent: dict[str, str]) -> str:
    """The signature that botocore makes for the same request."""
    request = AWSRequest(method="POST", url=f"https://{HOST}{path}", data=body, headers={"host": HOST})
    for name, value in sent.items():
        if name not in {"authorization", "x-amz-security-token"}:
            request.headers[name] = value
    request.context["timestamp"] = NOW.strftime("%Y%m%dT%H%M%SZ")
    if token:
        request.headers["x-amz-security-token"] = token
    auth = SigV4Auth(BotoCredentials("AKID", "secret", token or None), "bedrock", "eu-west-1")
    return auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)


def ours(path: str, body: bytes, token: str) -> dict[str, str]:
    credentials = Credentials("AKID", "secret", "eu-west-1", "bedrock", token)
    url = f"https://{HOST}{path}"
    return signed_headers(credentials, "POST", url, NOW, body=body, headers={"content-type": "application/json"})


@pytest.mark.parametrize(
    "path",
    [
        "/openai/v1/chat/completions",
        "/model/anthropic.claude-3:0/invoke",
        "/model/arn%3Aaws%3Abedrock%3Aeu/invoke",
        "/model/a%20b/invoke-with-response-stream",
        "/",
        "",
    ],
)
@pytest.mark.parametrize("token", ["", "session-token"])
def test_botocore_makes_the_same_signature(path: str, token: str) -> None:
    sent = ours(path, b'{"a": 1}', token)
    assert sent["authorization"].rpartition("Signature=")[2] == judged(path, b'{"a": 1}', token, sent)


@given(
    path=st.text("abcXYZ019-_.~:@$&+=,;!*'()/", max_size=40).map(
        lambda text: "/" + text.replace("//", "/").strip("/.")
    ),
    body=st.binary(max_size=100),
)
def test_for_any_path_and_body(path: str, body: bytes) -> None:
    if "/." in path:  # botocore takes dot segments out first; the gateway's paths have none
        return
    sent = ours(path, body, "")
    assert sent["authorization"].rpartition("Signature=")[2] == judged(path, body, "", sent)
