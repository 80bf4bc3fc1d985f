"""What the Kafka client is told, and what is said where it is missing."""

import sys
from pathlib import Path
from typing import Any

import pytest

from audit.sinks.errors import SinkError
from audit.sinks.kafka import KafkaSink, configuration
from audit.sinks.settings import KafkaSettings


def settings(**given: Any) -> KafkaSettings:
    return KafkaSettings.model_validate(
        {"type": "kafka", "name": "bus", "brokers": ["kafka.example.org:9093"], "topic": "audit", **given}
    )


def test_a_missing_client_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(SinkError, match=r'the sink bus needs .* pip install "govgateway\[kafka\]"'):
        KafkaSink(settings(), lambda record: record.record, None)


def test_brokers_are_verified_by_issuer_and_name_unless_said_otherwise_by_name() -> None:
    made = configuration(settings(), "")
    assert made["security.protocol"] == "SSL"
    assert made["enable.ssl.certificate.verification"] is True
    assert made["ssl.endpoint.identification.algorithm"] == "https"
    assert made["ssl.ca.location"] == "probe"


def test_messages_are_confirmed_by_all_replicas_and_not_repeated_by_the_client() -> None:
    made = configuration(settings(timeout_seconds=7), "")
    assert (made["acks"], made["enable.idempotence"], made["delivery.timeout.ms"]) == ("all", True, 7000)


def test_an_own_authority_a_certificate_and_a_password_are_handed_over(tmp_path: Path) -> None:
    made = configuration(
        settings(
            tls={
                "ca_file": tmp_path / "ca.pem",
                "client_cert_file": tmp_path / "cert.pem",
                "client_key_file": tmp_path / "key.pem",
            },
            username="gateway",
            password="env:PASSWORD",
        ),
        "correct horse",
    )
    assert made["ssl.ca.location"] == str(tmp_path / "ca.pem")
    assert made["ssl.certificate.location"] == str(tmp_path / "cert.pem")
    assert made["ssl.key.location"] == str(tmp_path / "key.pem")
    assert made["security.protocol"] == "SASL_SSL"
    assert (made["sasl.mechanism"], made["sasl.username"]) == ("SCRAM-SHA-512", "gateway")
    assert made["sasl.password"] == "correct horse"


def test_plain_text_is_for_this_machine_or_by_its_unsafe_name() -> None:
    assert configuration(settings(tls=None, brokers=["127.0.0.1:9092"]), "")["security.protocol"] == "PLAINTEXT"
    with pytest.raises(ValueError, match="without TLS"):
        settings(tls=None)
    assert configuration(settings(tls=None, unsafe_plaintext=True), "")["security.protocol"] == "PLAINTEXT"
