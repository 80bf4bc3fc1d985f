"""What may be configured of sinks, and what is refused because it would be unsafe or mean nothing."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from audit.sinks.settings import SinkSettings, is_loopback, uses_plaintext

ADAPTER: TypeAdapter[SinkSettings] = TypeAdapter(SinkSettings)

GOOD: dict[str, dict[str, Any]] = {
    "syslog": {"host": "siem.example.org"},
    "splunk": {"url": "https://splunk.example.org:8088", "token": "file:/run/token"},
    "elastic": {"url": "https://elastic.example.org:9200", "index": "audit-log"},
    "http": {"url": "https://collector.example.org/audit"},
    "otlp": {"url": "https://otel.example.org:4318"},
    "kafka": {"brokers": ["kafka.example.org:9093"], "topic": "audit"},
}


def load(kind: str, **changes: Any) -> SinkSettings:
    return ADAPTER.validate_python({"type": kind, "name": "siem", **GOOD[kind], **changes})


@pytest.mark.parametrize("kind", GOOD)
def test_the_least_that_each_needs_is_enough(kind: str) -> None:
    assert load(kind).following().batch_records == 500


@pytest.mark.parametrize("kind", GOOD)
def test_a_key_that_nobody_knows_is_refused(kind: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        load(kind, verify=False)


@pytest.mark.parametrize("name", ["", "../siem", "SIEM", "a/b", "a.b", "x" * 64])
def test_a_name_that_is_no_name_of_a_file_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        load("http", name=name)


@pytest.mark.parametrize("kind", ["splunk", "elastic", "http", "otlp"])
@pytest.mark.parametrize(
    "url",
    [
        "http://siem.example.org", "ftp://siem.example.org", "siem.example.org", "https://", "https://u:p@siem.example.org",
        "https://siem.example.org/?token=1", "http://127.0.0.1.example.org",
    ],
)  # fmt: skip
def test_an_address_that_is_not_encrypted_or_holds_more_than_a_place_is_refused(kind: str, url: str) -> None:
    with pytest.raises(ValidationError):
        load(kind, url=url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8088", "http://[::1]:8088", "http://localhost:8088"])
def test_this_machine_may_be_reached_without_tls(url: str) -> None:
    assert not uses_plaintext(load("http", url=url))


def test_plaintext_elsewhere_needs_the_option_that_is_named_unsafe() -> None:
    assert uses_plaintext(load("http", url="http://siem.example.org", unsafe_plaintext=True))
    with pytest.raises(ValidationError, match="without TLS"):
        load("kafka", tls=None)
    assert uses_plaintext(load("kafka", tls=None, unsafe_plaintext=True))
    assert not uses_plaintext(load("kafka", tls=None, brokers=["127.0.0.1:9092"]))


@pytest.mark.parametrize(
    ("kind", "key"), [("splunk", "token"), ("elastic", "api_key"), ("http", "token"), ("otlp", "token")]
)
def test_a_credential_is_a_reference(kind: str, key: str) -> None:
    with pytest.raises(ValidationError, match="given by reference"):
        load(kind, **{key: "hunter2"})


def test_a_certificate_needs_its_key() -> None:
    with pytest.raises(ValidationError, match="belong together"):
        load("syslog", tls={"client_cert_file": "/x.pem"})


def test_a_password_needs_its_user() -> None:
    with pytest.raises(ValidationError, match="belong together"):
        load("kafka", password="env:P")


@pytest.mark.parametrize("broker", ["kafka", "kafka:", ":9092", "kafka:ssl", "a:1,b:2"])
def test_a_broker_is_host_and_port(broker: str) -> None:
    with pytest.raises(ValidationError):
        load("kafka", brokers=[broker])


@pytest.mark.parametrize("host", ["192.0.2.1", "10.0.0.1", "example.org", "127.0.0.1.example.org", ""])
def test_only_this_machine_is_this_machine(host: str) -> None:
    assert not is_loopback(host)
