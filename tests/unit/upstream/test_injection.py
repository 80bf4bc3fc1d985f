"""How a credential is shown to a backend: in a header field that takes it, or not at all."""

from base64 import b64decode
from datetime import UTC, datetime

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gateway.config.model import BackendConfig
from gateway.errors import UnavailableError
from gateway.secrets.store import Resolved, Secret
from gateway.upstream.headers import own_authorization, request_headers
from gateway.upstream.injection import Injection, Outgoing, credential_fields

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
BODY = b'{"model": "m"}'
REQUEST = Outgoing(
    "https://bedrock-runtime.eu-west-1.amazonaws.com/openai/v1/chat/completions",
    [(b"content-type", b"application/json"), (b"traceparent", b"00-1")],
    BODY,
)


def resolved(*, value: bytes | None = None, **fields: str) -> Resolved:
    return Resolved(
        "vault://x/y", Secret(value) if value is not None else None, {k: Secret(v.encode()) for k, v in fields.items()}
    )


def shown(injection: Injection, credential: Resolved) -> dict[bytes, bytes]:
    return dict(credential_fields(injection, credential, REQUEST, NOW))


def refusal(injection: Injection, credential: Resolved) -> str:
    with pytest.raises(UnavailableError) as caught:
        credential_fields(injection, credential, REQUEST, NOW)
    assert caught.value.code == "secret_malformed"
    return str(caught.value)


def test_bearer_header_and_basic():
    assert shown(Injection(), resolved(value=b"k")) == {b"authorization": b"Bearer k"}
    assert shown(Injection("header", "api-key"), resolved(value=b"a b")) == {b"api-key": b"a b"}
    basic = shown(Injection("basic"), resolved(username="u", password="p:w"))[b"authorization"]
    assert b64decode(basic.removeprefix(b"Basic ")) == b"u:p:w"
    basic = shown(Injection("basic", user="fixed"), resolved(value=b"p", username="u"))[b"authorization"]
    assert b64decode(basic.removeprefix(b"Basic ")) == b"fixed:p"


@pytest.mark.parametrize("value", [b"", b"a b", b"a\r\nx: y", b"\xff", b"a\x00b", "\u00e9".encode()])
def test_what_no_header_takes_is_refused_and_not_told(value):
    said = refusal(Injection(), resolved(value=value))
    assert "vault://x/y" in said
    assert not value or value.decode("latin-1") not in said


def test_a_user_with_a_colon_a_missing_field_and_a_path_with_several_are_named():
    assert "colon" in refusal(Injection("basic"), resolved(username="a:b", password="p"))
    assert "username" in refusal(Injection("basic"), resolved(password="p"))
    assert "add #FIELD, one of: a, b" in refusal(Injection(), resolved(a="1", b="2"))
    assert "secret_key" in refusal(
        Injection("aws-sigv4", region="eu-west-1", service="bedrock"), resolved(access_key="A")
    )


@pytest.mark.parametrize("token_field", ["", "session_token", "security_token"])
def test_a_signature_is_the_one_that_botocore_makes(token_field):
    fields = {"access_key": "AKID", "secret_key": "s3cr3t", **({token_field: "tok"} if token_field else {})}
    sent = shown(Injection("aws-sigv4", region="eu-west-1", service="bedrock"), resolved(**fields))
    assert b"content-type" not in sent  # the request has it already
    request = AWSRequest("POST", REQUEST.url, data=BODY)
    for name in ("x-amz-date", "x-amz-content-sha256"):
        request.headers[name] = sent[name.encode()].decode()
    request.headers["content-type"] = "application/json"
    if token_field:
        request.headers["x-amz-security-token"] = "tok"
    request.context["timestamp"] = "20261124T120000Z"
    judge = SigV4Auth(Credentials("AKID", "s3cr3t", "tok" if token_field else None), "bedrock", "eu-west-1")
    signature = judge.signature(judge.string_to_sign(request, judge.canonical_request(request)), request)
    assert sent[b"authorization"].decode().endswith(f"Signature={signature}")


def test_the_callers_own_authorization_reaches_a_backend_only_where_it_says_so():
    caller = [(b"authorization", b"Bearer svid"), (b"content-type", b"application/json"), (b"api-key", b"x")]
    assert {name for name, _ in request_headers(caller, "00-1")} == {
        b"content-type",
        b"accept-encoding",
        b"traceparent",
    }
    assert own_authorization(caller) == [(b"authorization", b"Bearer svid")]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"injection": {"kind": "header"}}, "header goes with"),
        ({"injection": {"header": "api-key"}}, "header goes with"),
        ({"injection": {"kind": "header", "header": "Host"}}, "cannot be set"),
        ({"injection": {"kind": "header", "header": "Authorization"}}, "cannot be set"),
        ({"injection": {"kind": "header", "header": "a b"}}, "pattern"),
        ({"injection": {"kind": "aws-sigv4", "region": "eu-west-1", "service": "bedrock"}}, "needs a credential"),
        ({"credential": "env:X", "injection": {"kind": "aws-sigv4"}}, "region and service"),
        ({"credential": "env:X", "per_agent": True}, "per_agent needs a credential of Vault"),
        ({"credential": "env:X", "unsafe_forward_authorization": True}, "choose one"),
        ({"client_certificate": "vault://pki/issue/x"}, "needs an https url"),
        ({"credential": "plain-text"}, "by reference"),
        ({"credential": "vault:x"}, "vault://MOUNT/PATH#FIELD"),
        ({"credential": "vault://a/b#c d"}, "vault://MOUNT/PATH#FIELD"),
    ],
)
def test_a_backend_that_cannot_be_meant_is_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        BackendConfig.model_validate({"name": "b", "url": "http://127.0.0.1:1/v1", **settings})
