"""Signatures of requests with query, body and further fields, as Amazon's own client makes them."""

from datetime import UTC, datetime
from urllib.parse import quote

import httpx
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given
from hypothesis import strategies as st

from audit.anchors.sigv4 import Credentials, signed_headers

MOMENT = datetime(2026, 11, 23, 12, 30, 45, tzinfo=UTC)
TEXT = st.text("abXY019-_.~/ äß+=&@:,;'()!*$%?#", max_size=20)


@given(
    key=TEXT.filter(lambda key: not {".", ".."} & set(key.split("/"))),  # which every client takes out of a URL
    query=st.dictionaries(TEXT.filter(bool), TEXT, max_size=4),
    body=st.binary(max_size=50),
    extra=st.dictionaries(
        st.sampled_from(["content-md5", "content-type", "x-amz-object-lock-mode", "x-amz-meta-a"]),
        st.text("abc /=:+ ", min_size=1, max_size=20).map(str.strip),
    ),
    token=st.text("abc/+=", max_size=20),
)
def test_signatures_are_those_of_amazons_own_client(key, query, body, extra, token):
    url = f"https://s3.example:9000/bucket/{quote(key, safe='/-_.~')}"
    if query:
        pairs = (f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in query.items())
        url += "?" + "&".join(pairs)
    ours = signed_headers(
        Credentials("AKID", "secret", "eu-west-1", "s3", token), "PUT", url, MOMENT, body=body, headers=extra
    )
    request = AWSRequest("PUT", url, data=body, headers={**extra, "X-Amz-Content-SHA256": ours["x-amz-content-sha256"]})
    signer = S3SigV4Auth(BotoCredentials("AKID", "secret", token or None), "s3", "eu-west-1")
    request.context.update(timestamp=ours["x-amz-date"], payload_signing_enabled=True)
    request.headers["X-Amz-Date"] = ours["x-amz-date"]
    if token:
        request.headers["X-Amz-Security-Token"] = token
    canonical = signer.canonical_request(request)
    signature = signer.signature(signer.string_to_sign(request, canonical), request)
    assert ours["authorization"].endswith(f"Signature={signature}")
    assert extra.items() <= ours.items()
    sent = httpx.Request("PUT", url).url.raw_path.decode()
    assert sent == url.removeprefix("https://s3.example:9000"), "what is signed is what is sent"


def test_secrets_are_not_shown():
    assert "hidden" not in repr(Credentials("AKID", "hidden", "eu-west-1", "s3", "hidden too"))
