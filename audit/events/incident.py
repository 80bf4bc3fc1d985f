"""Records of incidents: opened, assessed, reported to authorities, closed."""

from typing import Annotated, Literal

from pydantic import Field

from audit.events.base import (
    Count,
    EventDefinition,
    EventId,
    Name,
    Part,
    Principal,
    Record,
    Text,
    absent,
    define,
)

Incident = Annotated[Name, Field(description="Id of the incident.")]
System = Annotated[Text, Field(description="AI system of the register; empty: not one alone.")]
Classes = Annotated[list[Name], Field(description="Classes of incident, by the table of deadlines.")]


class Duty(Part):
    """A duty to report, as it was assessed."""

    duty: Name = Field(description="Its id in the table of deadlines.")
    must_report: bool
    deadline: Count = Field(description="UNIX seconds; 0 where nothing has to be reported.")
    cause: Text = absent("Why it need not be reported.")


class IncidentOpened(Record):
    """Written when an incident is opened; a legal hold on its evidence stands by then."""

    type: Literal["incident.opened"]
    principal: Principal
    incident: Incident
    system: System
    title: Text
    classes: Classes = Field(description="First guess; empty where nobody can tell yet.")
    aware_at: Count = Field(description="When somebody became aware of it, UNIX seconds.")
    aware_text: Name = Field(description="The same as it was given, with its offset from UTC.")
    calls: list[EventId] = Field(description="Event ids of calls that belong to it.")
    hold: Name = Field(description="Id of the legal hold.")
    cause: Text


class IncidentAssessed(Record):
    """Written when somebody says what an incident is, and so what has to be reported until when."""

    type: Literal["incident.assessed"]
    principal: Principal
    incident: Incident
    system: System
    classes: Classes
    duties: list[Duty]
    table: Name = Field(description="Version of the table of deadlines.")
    cause: Text


class IncidentReported(Record):
    """Written when an incident was reported to an authority; a first report may be incomplete."""

    type: Literal["incident.reported"]
    principal: Principal
    incident: Incident
    system: System
    duty: Name
    to: Text = Field(description="The authority.")
    reported_at: Count = Field(description="UNIX seconds.")
    deadline: Count = Field(description="UNIX seconds.")
    in_time: bool = Field(description="Whether this report, or an earlier one of the same duty, was in time.")
    complete: bool
    reference: Text = absent("The authority's or one's own reference of the report.")
    late_cause: Text = absent("Why it was late.")


class IncidentClosed(Record):
    """Written when an incident is closed. Its legal hold stays until it is lifted."""

    type: Literal["incident.closed"]
    principal: Principal
    incident: Incident
    system: System
    hold: Name
    cause: Text


DEFINITIONS: tuple[EventDefinition, ...] = (
    define(IncidentOpened, "security", "high"),
    define(IncidentAssessed, "security", "medium"),
    define(IncidentReported, "security", "medium"),
    define(IncidentClosed, "security", "low"),
)
