"""Records of what the gateway counts and sees of itself, regularly: other accounts beside the records of single calls.

They are written at least hourly while a gateway runs, so that a day without any is a day without a gateway.
"""

from typing import Annotated, Literal

from pydantic import Field

from audit.events.base import Count, EventDefinition, Id, Name, Nanoseconds, Part, Record, Text, absent, define
from audit.events.inventory import Status


class Connections(Part):
    """What the listener counted."""

    accepted: Count = Field(description="Handshakes that ended with a proven identity.")
    refused: Count = Field(description="Handshakes that did not.")


class Decisions(Part):
    """What the policy engine and its cache were asked."""

    allow: Count
    deny: Count


class BackendAnswers(Part):
    """What came back from a backend."""

    backend: Name
    answers: Count = Field(description="Answers that began.")


class GatewayCounts(Record):
    """Written every hour and at the end, with what was counted since the last time by counters of their own."""

    type: Literal["gateway.counts"]
    since: Nanoseconds = Field(description="Begin of the window: UNIX time in nanoseconds.")
    until: Nanoseconds = Field(description="Its end, not included.")
    connections: Connections
    requests: Count = Field(description="Calls answered, refused ones among them.")
    in_flight: Count = Field(description="Calls under way at the end of the window.")
    decisions: Decisions
    backends: list[BackendAnswers]
    input_tokens: Count = Field(description="Tokens that backends reported, or that were counted in their place.")
    output_tokens: Count


class Hop(Part):
    """One way that calls, records or identities take."""

    hop: Name = Field(description="Name, for instance `listener` or `backend:NAME`.")
    carries: Literal["calls", "administration", "records", "identities", "policies", "digests", "metrics", "secrets"]
    address: Name = Field(description="Where it leads: scheme, host and port.")
    reach: Literal["network", "loopback", "unix"] = Field(description="Whether it leaves the machine.")
    encrypted: bool
    mutual: bool = Field(description="Whether both ends prove themselves by certificates.")
    tls_minimum: Annotated[str, Field(pattern=r"^(|1\.[0-3])$")] = Field(
        description="Lowest version of TLS that is spoken; empty where none is."
    )


class GatewayHops(Record):
    """Written at start, at each reload and every day: how what goes in and out is protected."""

    type: Literal["gateway.hops"]
    hops: list[Hop]


class SecretState(Part):
    """A credential that the configuration refers to. Its value is nowhere in it."""

    reference: Text = Field(description="The reference, for instance `env:NAME`.")
    purpose: Name = Field(description="What it is for: its key in the configuration.")
    kind: Literal["static", "dynamic"]
    readable: bool = Field(description="Whether it could be read.")
    age_seconds: Count = absent("How long its value has been the same, as far as is known.")
    max_age_seconds: Count = Field(description="How old it may become; 0: no bound.")
    version: Count = absent("The store's number of the value, where it counts.")
    last_use: Count = absent("When it was last used, UNIX seconds, where that is known.")


class SecretInventory(Record):
    """Written at start, at each reload and every day: which credentials there are, and how old they are."""

    type: Literal["secret.inventory"]
    secrets: list[SecretState]


class IdentityState(Part):
    """An identity of the inventory as it stands, so that whose it is can be told when its registration is deleted."""

    agent: Id
    kind: Literal["agent", "service", "pipeline", "human"]
    status: Status
    team: Text
    owner: Text
    risk_tier: Name
    system: Text
    registered_at: Count = Field(description="When it was registered, UNIX seconds.")
    reviewed_at: Count = absent("When somebody last confirmed that it is needed, UNIX seconds.")


class IdentityInventory(Record):
    """Written at start and every day: the identities that are not retired, a part of them in each record."""

    type: Literal["identity.inventory"]
    identities: list[IdentityState]


DEFINITIONS: tuple[EventDefinition, ...] = (
    define(GatewayCounts, "change"),
    define(GatewayHops, "change"),
    define(SecretInventory, "security"),
    define(IdentityInventory, "security"),
)
