"""All record types by name."""

from collections.abc import Mapping
from itertools import chain
from types import MappingProxyType

from audit.events import (
    access,
    admin,
    config,
    content,
    evidence,
    identity,
    incident,
    inventory,
    keys,
    log,
    observation,
    oversight,
    pipeline,
    policy,
    secrets,
    sinks,
    storage,
)
from audit.events.base import EventDefinition

SUBJECTS = (
    access, admin, identity, keys, inventory, policy, config, observation, secrets, storage, pipeline, content,
    oversight, incident, log, sinks, evidence,
)  # fmt: skip

EVENTS: Mapping[str, EventDefinition] = MappingProxyType(
    {each.type: each for each in chain.from_iterable(subject.DEFINITIONS for subject in SUBJECTS)}
)
"""Every record type, by its name."""
