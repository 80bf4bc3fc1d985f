"""What a log line shows, and what it never does."""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from gateway.secrets.store import Secret
from gateway.telemetry.logging import configure_logging, hide_secrets

VALUE = "sk-" + "7" * 20
HIDDEN = "<secret>"


def hide(**event: Any) -> dict[str, Any]:
    return dict(hide_secrets(None, "info", event))


@pytest.mark.parametrize(
    "key",
    ["authorization", "Authorization", "COOKIE", "set-cookie", "password", "passphrase", "secret", "token", "api_key",
     "api-key", "key_pem", "access_token", "X-Api-Key", "x_api_key", "client_secret", "proxy-authorization",
     "private_key", "credential", "AWS_SECRET_ACCESS_KEY"],
)  # fmt: skip
def test_what_lies_under_a_confidential_name_is_hidden_at_any_depth(key: str) -> None:
    assert hide(**{key: VALUE}) == {key: HIDDEN}
    assert hide(headers={key: VALUE}) == {"headers": {key: HIDDEN}}
    assert hide(calls=[{"headers": ({key: VALUE},)}]) == {"calls": [{"headers": [{key: HIDDEN}]}]}
    assert hide(headers={key.encode(): VALUE}) == {"headers": {key.encode(): HIDDEN}}


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: [s], lambda s: (1, s), lambda s: {"a": s}, lambda s: {"a": [{"b": s}]}]
)
def test_a_secret_is_hidden_wherever_it_lies(wrap: Callable[[Secret], Any]) -> None:
    line = json.dumps(hide(detail=wrap(Secret(VALUE.encode()))))
    assert VALUE not in line
    assert HIDDEN in line


def test_everything_else_is_shown_as_it_is() -> None:
    event = {
        "event": "request-refused",
        "tokens": 12,
        "max_tokens": 5,
        "key": "k",
        "keytoken": "x",
        "monkey": "m",
        "limits": ["a", 1],
        "detail": {"model": "m", 3: None},
    }
    assert hide(**event) == event


def test_the_callers_own_data_are_not_changed() -> None:
    headers = {"authorization": VALUE}
    hide(headers=headers)
    assert headers == {"authorization": VALUE}


keys = st.text(max_size=4) | st.integers() | st.binary(max_size=3) | st.none() | st.sampled_from(["token", b"cookie"])
values = st.recursive(
    st.none() | st.text(max_size=4) | st.integers() | st.builds(lambda: Secret(VALUE.encode())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_no_shape_of_an_event_fails_or_shows_a_secret(value: Any) -> None:
    assert "Secret object" not in str(hide(detail=value))
    assert VALUE not in str(hide(detail=value))


@pytest.fixture
def configured() -> Iterator[Callable[[str, str], None]]:
    """Configure logging for one test; what was set before is set again after it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    noisy = {name: logging.getLogger(name).level for name in ("uvicorn.access", "asyncio", "httpx")}
    yield configure_logging
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in noisy.items():
        logging.getLogger(name).setLevel(before)
    structlog.reset_defaults()


def test_a_line_is_one_json_object_without_secrets(
    configured: Callable[[str, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    configured("info", "json")
    secret = Secret(VALUE.encode())
    structlog.get_logger("test").warning("two\nlines", credential=secret, headers={"authorization": f"Bearer {VALUE}"})
    logging.getLogger("a-library").warning("connecting with %s", secret)
    structlog.get_logger("test").debug("unseen")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["two\nlines", "connecting with <secret>"]
    assert lines[0]["credential"] == lines[0]["headers"]["authorization"] == HIDDEN
    assert lines[0]["level"] == "warning"
    assert lines[0]["logger"] == "test"
    assert lines[0]["timestamp"].endswith("Z")


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_does_not_show_the_secrets_it_passed_through(
    configured: Callable[[str, str], None], capsys: pytest.CaptureFixture[str], form: str
) -> None:
    configured("info", form)

    def connect(credential: Secret) -> None:
        revealed = credential.reveal()
        raise RuntimeError(f"{credential} was refused", credential, len(revealed))

    for log in (structlog.get_logger("test").exception, logging.getLogger("a-library").exception):
        try:
            connect(Secret(VALUE.encode()))
        except RuntimeError:
            log("failed")
    shown = capsys.readouterr().err
    assert VALUE not in shown
    assert shown.count("was refused") >= 2
    assert HIDDEN in shown
