"""Records of the gateway itself: its start and end, its configuration, and what is unsafe in it."""

from typing import Annotated, Literal

from pydantic import Field

from audit.events.base import (
    Count,
    EventDefinition,
    Integer,
    Name,
    PolicyName,
    Principal,
    Record,
    Sha256,
    Text,
    define,
)

ConfigDigest = Annotated[Sha256, Field(description="SHA-256 of the configuration in canonical form.")]


class GatewayStarted(Record):
    """Written when a gateway starts, before it serves."""

    type: Literal["gateway.started"]
    version: Name
    trust_domain: Name
    workers: Count
    config_digest: ConfigDigest
    policy: PolicyName


class GatewayStopped(Record):
    """Written when a gateway ends in order."""

    type: Literal["gateway.stopped"]
    status: Integer = Field(description="Exit status.")


class WorkerExited(Record):
    """Written when a worker process ended that nobody had told to: its calls under way have no outcome."""

    type: Literal["worker.exited"]
    worker: Count
    pid: Count
    exit_code: Integer = Field(description="Exit status; a negative one is the number of a signal.")


class ConfigLoaded(Record):
    """Written when a running gateway took its configuration anew."""

    type: Literal["config.loaded"]
    principal: Principal
    config_digest: ConfigDigest
    workers: Count = Field(description="Workers that took it.")


class ConfigRefused(Record):
    """Written when a changed configuration is refused; the one in force stays."""

    type: Literal["config.refused"]
    principal: Principal
    cause: Text


class UnsafeOption(Record):
    """Written at start and at each reload, for every option in use that is named unsafe."""

    type: Literal["unsafe.option"]
    option: Name


DEFINITIONS: tuple[EventDefinition, ...] = (
    define(GatewayStarted, "change", "low"),
    define(GatewayStopped, "change", "low"),
    define(WorkerExited, "change", "medium"),
    define(ConfigLoaded, "change", "low"),
    define(ConfigRefused, "change", "medium"),
    define(UnsafeOption, "security", "high"),
)
