"""From the configuration to sinks that are fed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from audit.sinks.base import Report, Sink
from audit.sinks.credentials import Credential, resolved
from audit.sinks.cursor import DIRECTORY, CursorFile
from audit.sinks.dead_letters import DeadLetters
from audit.sinks.elastic import ElasticSink
from audit.sinks.encoding import encoder
from audit.sinks.follower import Follower
from audit.sinks.formats import Origin
from audit.sinks.http_lines import HttpLinesSink
from audit.sinks.kafka import KafkaSink
from audit.sinks.otlp import OtlpSink
from audit.sinks.settings import (
    ElasticSettings,
    HttpSettings,
    KafkaSettings,
    OtlpSettings,
    SinkSettings,
    SplunkSettings,
    SyslogSettings,
)
from audit.sinks.splunk import SplunkSink
from audit.sinks.syslog_sink import SyslogSink
from audit.store.base import AuditStore

__all__ = ["DIRECTORY", "Surroundings", "open_follower", "open_followers", "open_sink"]

Resolve = Callable[[str], bytes]
"""Returns the value of a credential by its reference. Called in the sinks' threads, at the moment of use."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all sinks of a gateway share.

    Attributes:
        store: the chains.
        directory: where cursors and dead letters are kept.
        origin: where records come from, as the receivers are told.
        resolve: resolves references of credentials.
        report: puts events on record.
        clock: UNIX time in nanoseconds.
    """

    store: AuditStore
    directory: Path
    origin: Origin
    resolve: Resolve
    report: Report
    clock: Callable[[], int]


def open_followers(settings: Sequence[SinkSettings], surroundings: Surroundings) -> list[Follower]:
    """Return what feeds the sinks, not started yet.

    Raises:
        CursorError: another process serves one of them, or the directory cannot be written.
    """
    followers: list[Follower] = []
    try:
        for each in settings:
            followers.append(open_follower(each, surroundings))  # noqa: PERF401 - those open are closed below
    except BaseException:
        for follower in followers:
            follower.stop()
        raise
    return followers


def open_follower(settings: SinkSettings, surroundings: Surroundings) -> Follower:
    """Return what feeds one sink, not started yet.

    Raises:
        CursorError: another process serves it, or the directory cannot be written.
    """
    directory, clock = surroundings.directory, surroundings.clock
    diverted = settings.on_refusal == "divert"
    return Follower(
        settings.name,
        surroundings.store,
        open_sink(settings, surroundings.origin, surroundings.resolve),
        CursorFile(directory, settings.name),
        surroundings.report,
        clock=clock,
        following=settings.following(),
        dead_letters=DeadLetters(directory, settings.name, clock) if diverted else None,
    )


def open_sink(settings: SinkSettings, origin: Origin, resolve: Resolve) -> Sink:
    """Return a sink. Nothing is connected yet."""

    def credential(reference: str) -> Credential | None:
        return resolved(reference, resolve) if reference else None

    if isinstance(settings, OtlpSettings):
        return OtlpSink(settings, origin, credential(settings.token))
    encode = encoder(settings.format, origin)
    sink: Sink
    match settings:
        case SyslogSettings():
            sink = SyslogSink(settings, encode, origin)
        case SplunkSettings():
            sink = SplunkSink(settings, encode, origin, resolved(settings.token, resolve))
        case ElasticSettings():
            sink = ElasticSink(settings, encode, credential(settings.api_key))
        case HttpSettings():
            sink = HttpLinesSink(settings, encode, credential(settings.token))
        case KafkaSettings():
            sink = KafkaSink(settings, encode, credential(settings.password))
    return sink
