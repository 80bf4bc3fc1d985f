"""What a caller sees of a backend's refusal."""

import orjson
import pytest

from gateway.upstream.refusal import caller_error


def shown(body: bytes) -> dict:
    return orjson.loads(caller_error(body))["error"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":{"message":"max_tokens is too large","type":"BadRequestError","param":"max_tokens","code":400}}',
        b'{"object":"error","message":"max_tokens is too large","type":"BadRequestError","param":"max_tokens","code":400}',
    ],
)
def test_the_known_fields_are_passed_on(body):
    assert shown(body) == {
        "message": "max_tokens is too large", "type": "BadRequestError", "param": "max_tokens", "code": 400,
    }  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":{"message":"you sent authorization: Bearer sk-SECRET","internal_host":"10.0.0.7"}}',
        b'{"error":{"message":"got header X-Api-Key=abc"}}',
        b'{"error":{"message":"sk-SECRET is wrong"}}',
        b"POST /v1/chat HTTP/1.1\r\nauthorization: Bearer sk-SECRET",
        b"[]",
        b"\xff",
        b'{"error":{"message":["a"]}}',
    ],
)
def test_nothing_else_of_it_is(body):
    text = caller_error(body).decode()
    assert "SECRET" not in text
    assert "10.0.0.7" not in text
    assert shown(body)["message"] == "The model server refused the request."


def test_texts_are_bounded_and_plain():
    body = orjson.dumps({"error": {"message": "a\n\x1b[2J" + "b" * 5000}})
    message = shown(body)["message"]
    assert len(message) == 1000
    assert message.isprintable()
