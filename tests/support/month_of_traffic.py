"""A gateway that runs for a month of its own time: its AI systems, who calls them day by day, and what people do."""

import contextlib
import http.client
import json
import secrets
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, Self

import yaml

from audit.store import SqliteStore
from audit.tlog.checkpoint import parse_checkpoint
from audit.tlog.note import note_text
from audit.tree.state import TreeState
from compliance.catalogue.loading import load_catalogue
from compliance.populations.registry import POPULATIONS
from tests.support.calling_agents import Answered, CallingAgents
from tests.support.calls import PATIENCE, chat, eventually
from tests.support.faked_time import FakedTime
from tests.support.policy_bundles import PolicyAuthor, activate
from tests.support.running_gateway import ROOT, AgentFiles, RunningGateway, govctl

YEAR, MONTH = 2031, 4
"""Far enough ahead for years to come: a faked time is later than the real one."""

SET_UP = datetime(YEAR, MONTH - 1, 31, 20, 30, tzinfo=UTC)

MODELS = {
    "example-chat": "assistant",
    "example-hiring": "hiring",
    "example-benefits": "benefits",
    "example-appeals": "appeals",
    "example-scoring": "scoring",
}

Act = Callable[["Month"], None]


def moment(text: str) -> datetime:
    """Return a moment of the month, such as `05 09:30`; `31 00:20` is of the day after its end."""
    number, clock = text.split(" ")
    hour, minute = clock.split(":")
    return datetime(YEAR, MONTH, 1, int(hour), int(minute), tzinfo=UTC) + timedelta(days=int(number) - 1)


def day(number: int) -> str:
    """Return a day of the month as evidence names it."""
    return date(YEAR, MONTH, number).isoformat()


class Month:
    """The gateway, its time, the agents that call it and the people who look after it."""

    def __init__(self, directory: Path, backend: str, faked: FakedTime) -> None:
        """Set up the gateway on the evening before the month begins."""
        self.time = faked
        self.author = PolicyAuthor(directory / "author", ROOT / "policies")
        self.author.edit("systems", lambda _: _systems())
        self.author.edit("bindings", lambda _: _BINDINGS)
        self.author.edit("limits", lambda table: {"quota": [*table["quota"], _BATCH_LIMIT]})
        self.gateway = RunningGateway(directory / "home", backend, list(MODELS), _configuration(self.author, backend))
        self.home = self.gateway.directory
        self.secret("gpu.token", moment("01 00:00") - timedelta(days=60))
        self.secret("gpu-2.token", moment("27 20:00") - timedelta(days=90))
        self.secret("content.key", SET_UP)
        _write_statements(self.home / "attestations")
        self.agents: dict[str, AgentFiles] = {}
        self._calling = CallingAgents(self.gateway.base_url)
        self._made = 0

    def __enter__(self) -> Self:
        try:
            self.activate("first")
            self.gateway.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._calling.__exit__()
        self.gateway.end()

    # time

    def until(self, until: datetime) -> None:
        """Let time pass hour by hour, each when the gateway has put the one before on record."""
        eventually("the calls are counted, which is due within a second", lambda: self._counted() >= self._made)
        while (hour := _next_hour(self.time.now)) <= until:
            self.time.forward_to(hour + timedelta(seconds=2))
            self._wait_for_record(hour)
        if until > self.time.now:
            self.time.forward_to(until)

    def _wait_for_record(self, since: datetime) -> None:
        store = SqliteStore(self.home / "state" / "audit", "")
        ends = time.monotonic() + PATIENCE
        with store.reader("control") as reader:
            while True:
                # The control process sleeps as long as it told the kernel, whatever the clock says; a question wakes it.
                self._operations("/readyz")
                (last,) = reader.last(1)
                if last.time_ns >= int(since.timestamp()) * 1_000_000_000:
                    return
                if time.monotonic() > ends:
                    raise AssertionError(f"no record since {since}:\n{self.gateway.log()}")
                self.time.forward_to(self.time.now + timedelta(seconds=1))  # it may have gone to sleep just now

    def _wait_for_signature(self) -> None:
        """Wait until the gateway has signed what is on record by now."""
        store = SqliteStore(self.home / "state" / "audit", "")
        tree = self.home / "state" / "audit" / "tree"
        with store.reader("control") as reader:
            (last,) = reader.last(1)
        ends = time.monotonic() + PATIENCE
        while True:
            self._operations("/readyz")
            with TreeState(tree, readonly=True) as state:
                index = state.index_of("control", last.sequence)
            signed = parse_checkpoint(note_text((tree / "checkpoint").read_bytes())).size
            if index is not None and index < signed:
                return
            if time.monotonic() > ends:
                raise AssertionError(f"nothing was signed:\n{self.gateway.log()}")
            self.time.forward_to(self.time.now + timedelta(seconds=1))

    def _operations(self, path: str) -> str:
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.gateway.operations_port, timeout=5)
        ) as line:
            line.request("GET", path)
            return line.getresponse().read().decode()

    def play(self, until: str, acts: Mapping[str, Act]) -> None:
        """Let the days pass, with their calls and with what people do at its time."""
        end = moment(until)
        first = self.time.now.date() if self.time.now.hour < 7 else self.time.now.date() + timedelta(days=1)
        events: list[tuple[datetime, Act]] = [(moment(when), act) for when, act in acts.items()]
        while first < end.date():
            for hour, part in ((7, Month.renew), (9, Month.morning), (16, Month.afternoon)):
                events.append((datetime(first.year, first.month, first.day, hour, 10, tzinfo=UTC), part))
            first += timedelta(days=1)
        for when, act in sorted(events, key=lambda each: each[0]):
            self.until(when)
            act(self)
        self.until(end)

    # calls

    def stop(self) -> None:
        """Stop the gateway in order."""
        assert self.gateway.stop() == 0

    def start(self) -> None:
        """Start it again, twenty minutes after it ended."""
        self.time.forward_to(self.time.now + timedelta(minutes=20))
        self.gateway.start()
        self._made = self._counted()

    def kill(self) -> None:
        """End everything at once, as a power cut would."""
        self.gateway.kill_everything()

    def renew(self) -> None:
        """Give every agent the certificate of the day."""
        for files in self.agents.values():
            self.govctl("agent", "issue", files.id, "--out", str(files.directory), "--ttl", "43200")

    def morning(self) -> None:
        """Make the calls of a morning."""
        said = self.call("researcher", *[chat() for _ in range(3)], chat(stream=True), chat("example-hiring"))
        assert [each.status for each in said] == [200, 200, 200, 200, 403], said
        said = self.call("clerk", chat("example-hiring"), chat("example-benefits"), chat("example-scoring"))
        assert [each.status for each in said] == [200, 200, 403], said
        self.call_if_there("visitor")
        self.call_if_there("scout")

    def afternoon(self) -> None:
        """Make the calls of an afternoon."""
        said = self.call("clerk", chat("example-hiring", stream=True), chat("example-benefits"))
        assert [each.status for each in said] == [200, 200], said
        said = self.call("batch", *[{"model": "example-chat", "input": "a text"} for _ in range(3)])
        assert [each.status for each in said] == [200, 200, 429], said

    def call_if_there(self, name: str) -> None:
        """Call once as an agent, if it is one of the agents still."""
        if name in self.agents:
            (said,) = self.call(name, chat())
            assert said.status == 200, said

    def call(self, name: str, *bodies: Mapping[str, Any]) -> list[Answered]:
        """Call as an agent."""
        answers = self._calling.call(self.agents[name], bodies)
        self._made += sum(each.status != 0 for each in answers)
        return answers

    def _counted(self) -> int:
        lines = self._operations("/metrics").splitlines()
        return sum(int(float(each.rsplit(" ", 1)[1])) for each in lines if each.startswith("govgateway_requests_total"))

    # people

    def govctl(self, *arguments: str, who: str = "ops", check: bool = True) -> CompletedProcess[str]:
        """Run govctl as somebody."""
        return govctl(self.home, *arguments, check=check, env={"LOGNAME": who})

    def said(self, *arguments: str, who: str = "ops") -> Any:
        """Run govctl as somebody, and return what it says to programs."""
        return json.loads(self.govctl(*arguments, "--json", who=who).stdout)

    def register(self, name: str, team: str, *more: str, kind: str = "agent") -> None:
        """Register an agent that calls from the next morning on, or a person."""
        identity = f"spiffe://{self.gateway.trust_domain}/{kind}/{name}"
        owner = f"{name}@gateway.test" if kind == "human" else "ada@gateway.test"
        self.govctl(
            "agent", "register", identity, "--team", team, "--owner", owner, "--purpose", "its work", "--kind", kind, *more
        )  # fmt: skip
        if kind == "agent":
            self.agents[name] = AgentFiles(identity, self.home / f"agent-{name}")

    def revoke(self, name: str, why: str) -> None:
        """Revoke an agent for good; it goes on calling, and is refused."""
        self.govctl("agent", "revoke", "--id", self.agents[name].id, "--reason", why)
        eventually("it is refused", lambda: {each.status for each in self.call(name, chat())} <= {0, 401, 403})

    def approve(self) -> None:
        """Let a person approve a call that waits for it."""
        body = chat("example-appeals", user=str(self.time.now))
        (held,) = self.call("clerk", body)
        assert held.status == 403, held
        grace = self.home / "grace"
        self.govctl("agent", "issue", f"spiffe://{self.gateway.trust_domain}/human/grace", "--out", str(grace))
        approval = held.body["error"]["approval"]["id"]
        self.govctl("approve", "grant", approval, "--reason", "I looked at it", "--identity", str(grace), who="grace")
        assert self.call("clerk", body)[0].status == 200

    def drill(self) -> None:
        """Stop every high-risk system for a moment."""
        for system in ("hiring", "benefits", "appeals"):
            self.govctl("oversight", "drill", system, "--reason", "quarterly exercise")

    def secret(self, name: str, since: datetime | None = None) -> None:
        """Put a new secret in place, which is there since now or an earlier moment."""
        path = self.home / name
        path.write_bytes(b64encode(secrets.token_bytes(32)))
        path.chmod(0o600)
        self.time.date_file(path, since or self.time.now)

    def activate(self, revision: str, *, approver: str = "grace") -> None:
        """Put the policies of the author in force as a pipeline does; an empty approver is none."""
        approved = ("--approver", approver) if approver else ()
        checks = ("--check", "policy-review", "--check", "impact")
        activate(self.gateway, self.author.build(revision, "--author", "ada", *approved, *checks))

    def export(self, name: str, days: tuple[int, int], seed: str) -> Path:
        """Write a package of some days; return its directory."""
        self._wait_for_signature()
        period = ("--from", day(days[0]), "--to", day(days[1]))
        self.govctl("export-evidence", *period, "-o", name, "--sample-seed", seed, "--json", who="auditor")
        return self.home / name


def _next_hour(now: datetime) -> datetime:
    return now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


def _configuration(author: PolicyAuthor, backend: str) -> dict[str, Any]:
    backends = [
        {"name": name, "url": backend, "region": "eu-central", "credential": f"file:{name}.token"}
        for name in ("gpu", "gpu-2")
    ]
    models = [
        {"name": name, "system": system, "backends": ["gpu-2" if system == "benefits" else "gpu"]}
        for name, system in MODELS.items()
    ]
    return {
        **author.configuration(),
        "backends": backends,
        "models": models,
        "context": {"region": "eu-central"},
        # An evaluation under way would live through hours at once; that days are evaluated is tested elsewhere.
        "compliance": {"attestations": "attestations", "daily": {"enabled": False}},
        "audit": {"sealing": {"seal_key": "file:content.key", "readers": ["operator:officer"]}},
    }


def _write_statements(directory: Path) -> None:
    """State everything that people are asked for beside the log, in either half of the month."""
    directory.mkdir()
    catalogue = load_catalogue([], POPULATIONS)
    for number in (14, 29):
        statements = [
            {
                "control": control.id,
                "item": item.id,
                "statement": "Done.",
                "by": "ada@gateway.test",
                "date": day(number),
            }
            for framework in catalogue.chosen([])
            for control in framework.controls
            for item in control.person
            if not item.register_key
        ]
        (directory / f"{number}.yaml").write_text(yaml.safe_dump(statements))


_BINDINGS = {
    "team:research": ["chat-user"],
    "team:people": ["chat-user"],
    "team:indexing": ["embedding-user"],
    "team:oversight": ["overseer"],
    "spiffe://gateway.test/human/auditor": ["auditor"],
}

_BATCH_LIMIT = {"name": "indexing", "scope": "agent", "match": {"team": "indexing"}, "requests_per_minute": 2}


def _systems() -> dict[str, Any]:
    """Return the register: one entry for each of the ways in which the frameworks look at a system."""
    everybody = {
        "owner": "people",
        "intended_purpose": "Helps clerks; a person decides.",
        "risk_reason": "As the annex lists it.",
        "screening": {"date": "2031-01-15", "by": "ada@gateway.test"},
    }
    document = {"reference": "https://docs.gateway.test/1", "sha256": "sha256:" + "d" * 64}
    overseen = {
        "overseers": ["grace@gateway.test"],
        "measures": ["Sees each answer before it is used, and can discard it."],
        "training": [
            {"person": "grace@gateway.test", "reference": "T-1", "date": "2031-01-15", "valid_until": "2032-01-14"}
        ],
    }
    high: dict[str, Any] = {
        **everybody,
        "risk": "high",
        "roles": ["deployer"],
        "purposes": ["model.infer"],
        "instructions_for_use": "https://docs.gateway.test/instructions",
        "data_classes": ["personal"],
        "regions": ["eu-central"],
        "lawful_basis": "GDPR, Article 6(1)(e)",
        "controller": {"name": "Gateway Test SE", "address": "1 Example Street"},
        "recipients": [{"name": name, "backend": name, "country": "DE"} for name in ("gpu", "gpu-2")],
        "risk_file": document,
        "dpia": document,
        "oversight": overseen,
    }
    systems: dict[str, Any] = {
        "assistant": {
            **everybody, "risk": "limited", "roles": ["deployer", "gpai-provider"], "transparency": True,
            "data_classes": ["internal"], "purposes": ["model.infer", "model.embed"], "seal_content": True,
        },
        "hiring": {
            **high, "annex_iii": "employment", "roles": ["provider", "deployer"], "deployer": "private",
            "data_sets": [
                {"name": "Applications", "use": "training", "origin": "our own", "special_categories": False}
            ],
            "conformity_assessment": document, "registration": "EU-1", "monitoring_plan": document,
        },
        "benefits": {
            **high, "annex_iii": "public-benefits", "deployer": "public", "fria": "FRIA-1",
            "affected_groups": ["Applicants"], "expected_calls_per_day": 2,
        },
        "appeals": {
            **high, "annex_iii": "employment", "deployer": "private",
            "oversight": {**overseen, "approval": ["model.infer"]},
        },
        "scoring": {**everybody, "risk": "prohibited", "practices": ["social-scoring"], "data_classes": ["internal"]},
    }  # fmt: skip
    for model, system in MODELS.items():
        version = {"version": "1", "provider": "Example SE", "annex_xii": "https://docs.gateway.test/model"}
        systems[system]["models"] = {model: version}
    copied: dict[str, Any] = json.loads(json.dumps(systems))  # what is shared would be written as an alias
    return copied
