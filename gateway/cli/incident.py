"""govctl incident: opened with its evidence frozen, assessed, reported in time, closed. All of it is in the log."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from audit.retention import Covers
from audit.store import AuditStore
from compliance.incidents import Incident, load_duties
from compliance.incidents.handling import Handling
from compliance.incidents.showing import incident_view, to_do
from compliance.incidents.times import moment, remaining, shown, zone_named
from gateway.app import open_audit_store
from gateway.cli.acting import ReasonOption, now, operator, record
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, print_json, print_table, say
from gateway.config import GatewayConfig, load_config
from gateway.retention import CHAIN, open_keeper

app = typer.Typer(help="Incidents: open, assess, report and close them; deadlines are counted.", no_args_is_help=True)

EVIDENCE_SECONDS = 30 * 86_400
"""How far back before somebody became aware the evidence is frozen, unless told otherwise."""

OVERDUE = 2
"""Exit status of `list --due` when a deadline has passed."""

_Id = Annotated[str, typer.Argument(metavar="INCIDENT", help="Id of the incident, such as INC-20261124-0a1b.")]
_ZoneOption = Annotated[
    str, typer.Option("--zone", help="Time zone (IANA), such as Europe/Berlin: of times without an offset, and shown.")
]
_Classes = Annotated[
    list[str] | None, typer.Option("--class", help="Class of incident; 'govctl incident classes'. Repeatable.")
]


@app.command("open")
def open_incident(
    title: Annotated[str, typer.Option(help="What it is about, in a line.")],
    aware_at: Annotated[str, typer.Option(help="When somebody became aware of it, with its offset: …T09:30+01:00.")],
    reason: ReasonOption,
    system: Annotated[str, typer.Option(help="AI system of the register; default: not one alone.")] = "",
    classes: _Classes = None,
    call: Annotated[list[str] | None, typer.Option(help="Event id of a call that belongs to it. Repeatable.")] = None,
    evidence_from: Annotated[
        str, typer.Option(help="From when on evidence is frozen; default: 30 days before --aware-at.")
    ] = "",
    zone: _ZoneOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Open an incident. A legal hold on the records of the system stands before it is on record."""
    loaded, handling = _handling(config)
    where = zone_named(zone) if zone else None
    aware = moment(aware_at, where)
    since = moment(evidence_from, where)[0] if evidence_from else aware[0] - EVIDENCE_SECONDS
    store = open_audit_store(loaded)
    for each in call or []:
        if store.find(each) is None:
            fail(f"the log has no record {each}; the id of a call is the x-request-id of its answer.")
    if system and system not in {model.system for model in loaded.models}:
        known = ", ".join(sorted({model.system for model in loaded.models}))
        fail(f"no model of this gateway belongs to the AI system {system}; known are: {known}.")

    def set_hold(cause: str) -> str:
        keeper, _ = open_keeper(loaded, lambda kind, fields: record(loaded, kind, fields))
        return keeper.set_hold(
            Covers(systems=(system,) if system else (), since=max(since, 1)), operator(), cause
        ).hold_id

    incident = handling.open(
        title=title, system=system, aware=aware, classes=classes or [], calls=call or [], by=operator(), cause=reason,
        set_hold=set_hold,
    )  # fmt: skip
    if json:
        print_json(incident_view(incident, handling.table, now()))
        return
    say(f"Opened {incident.incident}. The legal hold {incident.hold} keeps its evidence from {shown(since, where)} on.")
    _say_next(incident, handling, zone)


@app.command()
def assess(
    incident: _Id,
    reason: ReasonOption,
    classes: _Classes = None,
    not_reported: Annotated[
        list[str] | None,
        typer.Option("--not-reported", metavar="DUTY=WHY", help="A duty that need not be done, and why. Repeatable."),
    ] = None,
    zone: _ZoneOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Say what an incident is; the duties to report follow from it, with their deadlines."""
    _, handling = _handling(config)
    excepted = dict(_excepted(each) for each in not_reported or [])
    found = handling.assess(incident, classes=classes or [], not_reported=excepted, by=operator(), cause=reason)
    if json:
        print_json(incident_view(found, handling.table, now()))
        return
    say(f"{incident} is assessed: {', '.join(found.classes)}.")
    _say_duties(found, handling, zone)


@app.command()
def report(
    incident: _Id,
    duty: Annotated[str, typer.Option(help="Which duty it fulfils, such as ai-act-73 or gdpr-33.")],
    to: Annotated[str, typer.Option(help="The authority that it was reported to.")],
    at: Annotated[str, typer.Option(help="When, with its offset; default: now.")] = "",
    reference: Annotated[str, typer.Option(help="Reference of the report.")] = "",
    incomplete: Annotated[bool, typer.Option("--incomplete", help="A first report; more will follow.")] = False,
    late_because: Annotated[str, typer.Option(help="Why it is late, where it is.")] = "",
    zone: _ZoneOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Put on record that an incident was reported. The report itself is yours to make: this sends nothing."""
    _, handling = _handling(config)
    reported_at = moment(at, zone_named(zone) if zone else None)[0] if at else now()
    found = handling.report(
        incident, duty=duty, to=to, reported_at=reported_at, complete=not incomplete, reference=reference,
        late_cause=late_because, by=operator(),
    )  # fmt: skip
    if json:
        print_json(incident_view(found, handling.table, now()))
        return
    _say_duties(found, handling, zone)


@app.command()
def close(
    incident: _Id,
    reason: ReasonOption,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Close an incident that is assessed and reported. Its legal hold stays until somebody lifts it."""
    _, handling = _handling(config)
    found = handling.close(incident, by=operator(), cause=reason)
    if json:
        print_json(incident_view(found, handling.table, now()))
        return
    say(f"{incident} is closed.")
    say(f"The legal hold {found.hold} stays until it is lifted: govctl audit hold lift {found.hold} --reason …")


@app.command("list")
def list_incidents(
    due: Annotated[
        bool, typer.Option("--due", help="Only those with something to do; exit status 2 if a deadline has passed.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="Closed ones too.")] = False,
    zone: _ZoneOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """List the incidents, the most urgent first."""
    _, handling = _handling(config)
    where = zone_named(zone) if zone else None
    found = [each for each in handling.all().values() if every or not each.closed_at]
    if due:
        found = [each for each in found if each.next_deadline(handling.table)]
    found.sort(key=lambda each: (each.next_deadline(handling.table) or 1 << 62, each.opened_at))
    if json:
        print_json([incident_view(each, handling.table, now()) for each in found])
    else:
        print_table(
            ["incident", "status", "system", "title", "to do", "until", ""],
            (
                [
                    each.incident,
                    each.status,
                    each.system,
                    each.title,
                    to_do(each),
                    shown(deadline, where) if (deadline := each.next_deadline(handling.table)) else "",
                    remaining(deadline, now()) if deadline else "",
                ]
                for each in found
            ),
            empty="Nothing is due." if due else "No incident is open.",
        )
    if due and any(each.overdue(handling.table, now()) for each in found):
        raise typer.Exit(OVERDUE)


@app.command()
def show(
    incident: _Id,
    zone: _ZoneOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Show one incident: what is known, what has to be reported until when, what was done."""
    _, handling = _handling(config)
    found = handling.get(incident)
    if json:
        print_json(incident_view(found, handling.table, now()))
        return
    where = zone_named(zone) if zone else None
    say(f"{found.incident}: {found.title}")
    classes = ", ".join(found.classes) or "not said"
    say(f"{found.status}; AI system: {found.system or 'not one alone'}; classes: {classes}")
    say(f"Aware {found.aware_text}, opened {shown(found.opened_at, where)} by {found.opened_by}: {found.cause}")
    if found.assessed_at:
        say(f"Assessed {shown(found.assessed_at, where)} by {found.assessed_by}: {found.assessment}")
    for call in found.calls:
        say(f"Call {call}")
    _say_duties(found, handling, zone)
    for each in found.reports:
        kind = "Reported" if each.complete else "First report"
        late = f", late because: {each.late_cause}" if each.late_cause else ""
        say(f"{kind} to {each.to} ({each.duty}) {shown(each.reported_at, where)} {each.reference}{late}".rstrip())
    if found.closed_at:
        say(f"Closed {shown(found.closed_at, where)} by {found.closed_by}: {found.closing}")
    say(f"Legal hold: {found.hold}")


@app.command("classes")
def list_classes(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """List the classes of incident, and the duties with deadlines that each brings, with their sources."""
    table = load_duties(load_config(config).compliance.incident_duties)
    if json:
        print_json(table.model_dump(mode="json", exclude_none=True))
        return
    print_table(
        ["class", "what", "duties"],
        (
            [
                name,
                each.title,
                "; ".join(
                    f"{duty_name}: {deadline.words} ({duty.law}, Article {deadline.article})"
                    for duty_name, duty in table.duties.items()
                    if (deadline := duty.deadlines.get(name)) is not None
                ),
            ]
            for name, each in table.classes.items()
        ),
        empty="The table is empty.",
    )


def _handling(path: Path) -> tuple[GatewayConfig, Handling]:
    loaded = load_config(path)
    store = open_audit_store(loaded)
    table = load_duties(loaded.compliance.incident_duties)
    return loaded, Handling(table, lambda: _records(store), lambda kind, fields: record(loaded, kind, fields), now)


def _records(store: AuditStore) -> Iterator[dict[str, Any]]:
    """Yield the records of incidents: all are in the chain that govctl writes."""
    if CHAIN not in store.chains():
        return
    with store.reader(CHAIN) as reader:
        for each in reader.records():
            if each.type.startswith("incident."):
                yield orjson.loads(each.record)


def _excepted(text: str) -> tuple[str, str]:
    duty, _, why = text.partition("=")
    if not duty or not why:
        fail(f"--not-reported {text!r}: write the duty and why it need not be done, gdpr-33='no risk for anybody'.")
    return duty, why


def _say_next(incident: Incident, handling: Handling, zone: str) -> None:
    deadline = incident.next_deadline(handling.table)
    where = zone_named(zone) if zone else None
    say(f"Assess it: the shortest deadline that may hold is {shown(deadline, where)}, {remaining(deadline, now())}.")


def _say_duties(incident: Incident, handling: Handling, zone: str) -> None:
    where = zone_named(zone) if zone else None
    for each in incident.duties:
        known = handling.table.duties.get(each.duty)
        to = f" to {known.to}" if known is not None else ""
        if not each.must_report:
            say(f"{each.duty}: need not be reported: {each.cause}")
        elif each.outstanding:
            say(f"{each.duty}: report{to} until {shown(each.deadline, where)}, {remaining(each.deadline, now())}.")
        else:
            rest = "" if each.complete else "; the complete report is still to follow"
            when = "in time" if each.in_time else "late"
            say(f"{each.duty}: reported {when}, {shown(each.reported_at, where)}{rest}.")
    if incident.assessed_at and not incident.must_report:
        say("Nothing has to be reported.")
