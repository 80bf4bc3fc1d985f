"""The audit section of the configuration."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from audit.chain import is_log_name
from audit.sinks.settings import SinkSettings
from gateway.config.anchors import LockedCopies, Timestamps
from gateway.config.retention import Retention
from gateway.config.sealing import Sealing
from gateway.config.section import SecretReference, Section
from gateway.config.witness import Witnesses


def _log_name(value: str) -> str:
    if not is_log_name(value):
        raise ValueError(f"{value!r} is no name of a log: a URL without its scheme, such as example.org/audit")
    return value


LogName = Annotated[str, AfterValidator(_log_name)]


class Audit(Section):
    """The audit log. There is no switch to turn it off."""

    origin: LogName | None = Field(
        None,
        description="Name of this gateway's log, the origin of its checkpoints: a URL without its scheme. "
        "Gateways that share a trust domain need one each; default: <trust_domain>/audit.",
    )
    directory: Path | None = Field(None, description="Directory of the log; default: <state_dir>/audit.")
    database: SecretReference = Field(
        "",
        description="Reference of the URL (postgresql://user@host/name) of a database that keeps the chains, for "
        "several gateways together; empty: SQLite files in the directory. Tree and heads stay in the directory.",
    )
    pending_records: int = Field(
        10_000, ge=100, description="Records that may wait for the disk before calls are refused."
    )
    checkpoint_seconds: float = Field(
        2.0, gt=0, le=3600, description="How often new records are taken into the signed tree, seconds."
    )
    post_quantum: bool = Field(
        False, description="Sign checkpoints with ML-DSA-44 as well, which a quantum computer does not forge."
    )
    witnesses: Witnesses = Witnesses()
    timestamps: Timestamps = Timestamps()
    copies: LockedCopies = LockedCopies()
    sinks: list[SinkSettings] = Field([], description="Copies for a SIEM; see docs/audit-sinks.md.")
    sealing: Sealing = Sealing()
    retention: Retention = Retention()
