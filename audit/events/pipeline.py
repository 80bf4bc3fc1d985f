"""Records of pipelines: the runs that act through the gateway."""

from typing import Literal

from pydantic import Field

from audit.events.base import EventDefinition, Name, Principal, Record, Text, define


class PipelineRun(Record):
    """Written when a pipeline's run begins, and when it ends."""

    type: Literal["pipeline.run"]
    principal: Principal
    pipeline: Name
    run: Name
    state: Literal["started", "succeeded", "failed"]
    cause: Text = Field(description="Why it failed; empty otherwise.")


DEFINITIONS: tuple[EventDefinition, ...] = (define(PipelineRun, "access", written=False),)
