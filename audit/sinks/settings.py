"""What is configured of sinks. Plain models; credentials are references that somebody else resolves."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from audit.sinks.forwarding import Following

Format = Literal["record", "ocsf"]
"""`record`: the record as it is in the log; `ocsf`: an event of the Open Cybersecurity Schema Framework."""


def _reference(value: str) -> str:
    if value and not value.startswith(("file:", "env:")):
        raise ValueError("a credential is given by reference: file:/path/to/file, env:NAME or ${NAME}")
    return value


Reference = Annotated[str, AfterValidator(_reference)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Common(_Settings):
    """What every sink has."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
        description="Name of the sink, and of its cursor: another name begins anew.",
    )
    from_now: bool = Field(
        False, description="A new sink gets only what is written from then on, in place of all that is kept."
    )
    on_refusal: Literal["stop", "divert"] = Field(
        "stop",
        description="What becomes of a record that the receiver refuses for good. stop: its chain waits there, and the "
        "sink counts as failed; divert: it goes to the sink's dead letters, which is put on record, and the next one "
        "is sent.",
    )
    batch_records: int = Field(500, ge=1, le=10_000, description="Most records in one batch.")
    batch_bytes: int = Field(1_000_000, ge=1_000, le=50_000_000, description="Most bytes of records in one batch.")
    poll_seconds: float = Field(1.0, ge=0.05, le=3600, description="How often new records are looked for, seconds.")
    timeout_seconds: float = Field(30.0, gt=0, le=600, description="Longest wait for one batch, seconds.")
    retry_max_seconds: float = Field(60.0, ge=0.5, le=3600, description="Longest wait after a failure, seconds.")
    failed_after_seconds: float = Field(
        10.0, ge=0, le=86_400, description="How long it may fail before `sink.failed` is put on record, seconds."
    )

    def following(self) -> Following:
        """Return how it is fed."""
        return Following(
            batch_records=self.batch_records,
            batch_bytes=self.batch_bytes,
            poll_seconds=self.poll_seconds,
            retry_seconds=(0.5, self.retry_max_seconds),
            patience_seconds=self.failed_after_seconds,
            from_now=self.from_now,
        )


class Tls(_Settings):
    """TLS towards a receiver. It is always verified, by name and issuer."""

    ca_file: Path | None = Field(None, description="Certificates that are trusted; default: the system's.")
    client_cert_file: Path | None = Field(None, description="Certificate that the gateway shows, PEM.")
    client_key_file: Path | None = Field(None, description="Its key, PEM.")

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.client_cert_file is None) != (self.client_key_file is None):
            raise ValueError("client_cert_file and client_key_file belong together: give both or neither")
        return self


class _Http(_Common):
    url: str = Field(description="Where to: https://host[:port][/path].")
    tls: Tls = Tls()
    unsafe_plaintext: bool = Field(
        False, description="Allow http:// to an address that is not loopback. Recorded in the audit log."
    )

    @model_validator(mode="after")
    def _check_url(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme not in {"https", "http"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"{self.url!r} is no address: https://host[:port][/path]")
        if parts.username is not None or parts.password is not None:
            raise ValueError("credentials do not belong in the address: give a reference of them")
        if parts.scheme == "http" and not self.unsafe_plaintext and not is_loopback(parts.hostname):
            raise ValueError(f"{self.url} is not encrypted: use https://, or set unsafe_plaintext")
        return self


class SyslogSettings(_Common):
    """Syslog over TLS (RFC 5425), with messages as RFC 5424 says."""

    type: Literal["syslog"] = Field(description="Kind of the sink: syslog.")
    host: str = Field(min_length=1, max_length=253, description="Host name, as in the receiver's certificate.")
    port: int = Field(6514, ge=1, le=65_535, description="Its port.")
    format: Literal["cef", "record", "ocsf"] = Field("cef", description="What each message holds.")
    tls: Tls = Tls()


class SplunkSettings(_Http):
    """Splunk's HTTP Event Collector."""

    type: Literal["splunk"] = Field(description="Kind of the sink: splunk.")
    token: Reference = Field(min_length=1, description="Reference of the collector's token.")
    format: Format = Field("record", description="What each event holds.")
    index: str = Field("", max_length=200, description="Index; empty: the token's.")
    source_type: str = Field("govgateway:audit", min_length=1, max_length=200, description="Source type of events.")
    acknowledged: bool = Field(
        False,
        description="Wait until the indexers have the events. The token needs indexer acknowledgment turned on.",
    )


class ElasticSettings(_Http):
    """Elasticsearch's bulk API, or OpenSearch's."""

    type: Literal["elastic"] = Field(description="Kind of the sink: elastic.")
    index: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,199}$", description="Data stream or index.")
    api_key: Reference = Field("", description="Reference of the encoded API key; empty for none.")
    format: Format = Field("ocsf", description="What each document holds.")


class HttpSettings(_Http):
    """Any receiver of JSON over HTTP: one JSON object a line, in one POST a batch."""

    type: Literal["http"] = Field(description="Kind of the sink: http.")
    token: Reference = Field("", description="Reference of the bearer token; empty for none.")
    format: Format = Field("record", description="What each line holds.")


class OtlpSettings(_Http):
    """OpenTelemetry logs, OTLP over HTTP in JSON. The address is the base; /v1/logs is added."""

    type: Literal["otlp"] = Field(description="Kind of the sink: otlp.")
    token: Reference = Field("", description="Reference of the bearer token; empty for none.")


class KafkaSettings(_Common):
    """A topic of Apache Kafka, or of what speaks its protocol. Needs the extra `govgateway[kafka]`."""

    type: Literal["kafka"] = Field(description="Kind of the sink: kafka.")
    brokers: list[str] = Field(min_length=1, description="host:port of brokers to begin with.")
    topic: str = Field(pattern=r"^[A-Za-z0-9._-]{1,249}$", description="Topic; it has to be there.")
    format: Format = Field("record", description="What each message holds.")
    tls: Tls | None = Field(Tls(), description="TLS; null for none.")
    username: str = Field("", max_length=200, description="For SASL; empty for none.")
    password: Reference = Field("", description="Reference of the password for SASL.")
    mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = Field("SCRAM-SHA-512", description="Of SASL.")
    unsafe_plaintext: bool = Field(
        False, description="Allow brokers without TLS at addresses that are not loopback. Recorded in the audit log."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        for broker in self.brokers:
            host, _, port = broker.rpartition(":")
            if not host or not port.isascii() or not port.isdigit() or "," in broker:
                raise ValueError(f"{broker!r} is no broker: host:port")
            if self.tls is None and not self.unsafe_plaintext and not is_loopback(host.strip("[]")):
                raise ValueError(f"the broker {broker} would be reached without TLS: set tls, or unsafe_plaintext")
        if bool(self.username) != bool(self.password):
            raise ValueError("username and password belong together: give both or neither")
        return self


SinkSettings: TypeAlias = Annotated[
    SyslogSettings | SplunkSettings | ElasticSettings | HttpSettings | OtlpSettings | KafkaSettings,
    Field(discriminator="type"),
]
"""One entry of `audit.sinks`."""


def is_loopback(host: str) -> bool:
    """Whether a host is this machine for certain."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def uses_plaintext(settings: SinkSettings) -> bool:
    """Whether the option that is named unsafe is in use."""
    return bool(getattr(settings, "unsafe_plaintext", False))
