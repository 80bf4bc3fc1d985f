"""How the gateway ran: gaps, what it described of itself, retention, erasures."""

from compliance.populations.base import Entry, Value
from compliance.populations.collectors.base import DAY_NS, SECOND, Surroundings, base_of, made, part

TYPES = ("gateway.started", "gateway.stopped", "worker.exited", "log.recovered", "log.broken", "clock.stepped",
         "gateway.counts", "gateway.hops", "secret.inventory", "log.segment_deleted", "log.sealed", "content.erasing",
         "content.erased")  # fmt: skip

KEPT_DAYS = 183
"""Six calendar months and no less (AI Act, Articles 19(1) and 26(6))."""

ERASURE_DAYS = 30

_MODERN = frozenset({"1.2", "1.3"})

_PLAIN = frozenset({"digests", "metrics"})
"""What nobody learns anything of by reading it on its way, and what is signed by itself."""


class Running:
    """Follows starts and ends, and keeps the last description of each day.

    Attributes:
        intervals: when a gateway ran by its starts and ends, from and until, UNIX nanoseconds.
        down: when none ran since one had ended in order.
        dead: when none is known to have run since one had ended without a word.
    """

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self.intervals: list[tuple[int, int]] = []
        self.down: list[tuple[int, int]] = []
        self.dead: list[tuple[int, int]] = []
        self._started: dict[str, int] = {}
        self._stopped: dict[str, int] = {}
        self._ended: list[tuple[Entry, int, int]] = []
        self._daily: dict[tuple[str, str, str], dict[str, Value]] = {}
        self._sealed: dict[str, int] = {}
        self._erasures: dict[str, dict[str, Value]] = {}

    def take(self, entry: Entry) -> None:
        """Take a record."""
        if "unwritable" in entry.document:
            return
        match entry.type:
            case "gateway.started":
                self._start(entry)
            case "gateway.stopped":
                self._stop(entry)
            case "gateway.counts":
                if _chain(entry) not in self._stopped:  # its start is older than the log
                    self._started.setdefault(_chain(entry), self._around.oldest())
                self._count(entry)
            case "gateway.hops" | "secret.inventory":
                self._describe(entry)
            case "log.sealed":
                self._sealed[str(entry.document["segment"])] = entry.time_ns
            case "log.segment_deleted":
                self._delete(entry)
            case "content.erasing" | "content.erased":
                self._erase(entry)
            case _:
                self._happen(entry)

    def finish(self) -> None:
        """Give out what is left; a gateway that has not stopped runs until the log ends."""
        for ended in self._ended:
            self._end(*ended)
        for started in self._started.values():
            self.intervals.append((started, self._around.now_ns))
        self.down += [(stopped, self._around.now_ns) for stopped in self._stopped.values()]
        for row in self._daily.values():
            population = "hops" if "hop" in row else "secrets"
            self._around.emit(population, row)
        for row in self._erasures.values():
            self._tell_erasure(row)

    def _start(self, entry: Entry) -> None:
        chain = _chain(entry)
        before = self._started.get(chain)
        if before is not None:
            self._ended.append((entry, before, self._around.sign_before(entry.time_ns)))
        elif chain in self._stopped:
            stopped = self._stopped.pop(chain)
            self.down.append((stopped, entry.time_ns))
            self._gap(entry, "downtime", stopped, entry.time_ns, "stopped in order")
        self._started[chain] = entry.time_ns

    def _end(self, entry: Entry, started: int, sign: int) -> None:
        """Tell of an end without a word, which only the next start shows: it was after the last sign of life."""
        end = max(started, sign, self._around.sign_before(entry.time_ns))
        self.intervals.append((started, end))
        self.dead.append((end, entry.time_ns))
        cause = "the gateway ended without a word: killed, or the machine failed"
        self._gap(entry, "ended", end, entry.time_ns, "", cause)

    def _stop(self, entry: Entry) -> None:
        chain = _chain(entry)
        started = self._started.pop(chain, None)
        if started is not None:
            self.intervals.append((started, entry.time_ns))
        self._stopped[chain] = entry.time_ns

    def _happen(self, entry: Entry) -> None:
        document = entry.document
        kind, cause = {
            "worker.exited": ("worker", f"exit status {document.get('exit_code')}"),
            "log.recovered": ("store", str(document.get("cause", ""))),
            "log.broken": ("broken", ""),
            "clock.stepped": ("clock", "the clock went back"),
        }[entry.type]
        self._gap(entry, kind, entry.time_ns, None, cause)

    def _gap(self, entry: Entry, kind: str, since: int, until: int | None, cause: str, unexplained: str = "") -> None:
        if not self._around.period.contains(since) and not self._around.period.contains(entry.time_ns):
            return
        row: dict[str, Value] = {
            "kind": kind,
            "since": since,
            "until": until,
            "explained": bool(cause),
            "cause": cause or unexplained,
        }
        self._around.emit("gaps", {**base_of(entry), **row})

    def _count(self, entry: Entry) -> None:
        document = entry.document
        if not self._around.period.contains(entry.time_ns):
            return
        connections, decisions = part(document, "connections"), part(document, "decisions")
        self._around.emit(
            "counts",
            {
                **base_of(entry),
                "since": int(document["since"]),
                "until": int(document["until"]),
                "connections_accepted": connections.get("accepted"),
                "handshakes_refused": connections.get("refused"),
                "requests": document.get("requests"),
                "in_flight": document.get("in_flight"),
                "decisions": int(decisions.get("allow", 0)) + int(decisions.get("deny", 0)),
                "allowed": int(decisions.get("allow", 0)),
                "denied": int(decisions.get("deny", 0)),
                "backend_requests": sum(int(each.get("answers", 0)) for each in document.get("backends", ())),
                "input_tokens": document.get("input_tokens"),
                "output_tokens": document.get("output_tokens"),
                "recorded": None,
                "counted": None,
                "reconciled": None,
            },
        )

    def _describe(self, entry: Entry) -> None:
        if not self._around.period.contains(entry.time_ns):
            return
        base = base_of(entry)
        day = str(base["day"])
        for hop in entry.document.get("hops", ()):
            self._daily["hop", day, str(hop["hop"])] = {**base, **_hop(hop)}
        for secret in entry.document.get("secrets", ()):
            self._daily["secret", day, str(secret["purpose"])] = {**base, **_secret(secret)}

    def _delete(self, entry: Entry) -> None:
        sealed = self._sealed.get(str(entry.document["segment"]))
        kept = None if sealed is None else entry.time_ns - sealed
        if self._around.period.contains(entry.time_ns):
            row: dict[str, Value] = {"kind": "deletion", "records": int(entry.document["records"]), "oldest": None}
            enough = kept is not None and kept >= KEPT_DAYS * DAY_NS
            row |= {"kept_long_enough": enough, "oldest_old_enough": True}
            self._around.emit("retention", {**base_of(entry), **row})

    def _erase(self, entry: Entry) -> None:
        name = str(entry.document["erasure"])
        if entry.type == "content.erasing":
            said = {each: str(entry.document.get(each, "")) for each in ("erasure", "principal", "cause")}
            contents = int(entry.document["contents"])
            row: dict[str, Value] = {**base_of(entry), **said, "contents": contents, "erased_at": None}
            self._erasures.setdefault(name, row)
        elif name in self._erasures:
            self._erasures[name]["erased_at"] = entry.time_ns

    def _tell_erasure(self, row: dict[str, Value]) -> None:
        begun, done = row["time"], row["erased_at"]
        if not isinstance(begun, int) or begun >= self._around.period.end_ns:
            return
        end = done if isinstance(done, int) else self._around.end_ns
        if begun < self._around.period.start_ns and isinstance(done, int) and done < self._around.period.start_ns:
            return
        days = max(0, end - begun) // DAY_NS
        self._around.emit("erasures", {**row, "days": days, "in_time": days <= ERASURE_DAYS})


def retention_state(around: Surroundings, deleted: int, complete_ns: int) -> dict[str, Value]:
    """Return the row that says how far the log goes back at the end of the period.

    Args:
        deleted: leaves whose records retention deleted.
        complete_ns: since when no chain lacks a record.
    """
    end = around.end_ns
    wanted = end - KEPT_DAYS * DAY_NS
    old_enough = complete_ns <= wanted or not deleted
    row: dict[str, Value] = {"kind": "state", "records": deleted, "oldest": complete_ns, "kept_long_enough": True}
    last = max(around.period.start_ns, end - SECOND)
    return {**made(last), **row, "oldest_old_enough": old_enough}


def _chain(entry: Entry) -> str:
    return str(entry.document.get("chain", ""))


def _hop(hop: dict[str, Value]) -> dict[str, Value]:
    named = {
        name: hop.get(name) for name in ("hop", "carries", "address", "reach", "encrypted", "mutual", "tls_minimum")
    }
    protected = bool(hop.get("encrypted")) or hop.get("reach") != "network" or hop.get("carries") in _PLAIN
    return {**named, "tls_modern": hop.get("tls_minimum") in _MODERN, "protected": protected}


def _secret(secret: dict[str, Value]) -> dict[str, Value]:
    age, bound = secret.get("age_seconds"), secret.get("max_age_seconds")
    readable = bool(secret.get("readable"))
    young = isinstance(age, int) and isinstance(bound, int) and (bound == 0 or age <= bound)
    return {
        **{name: str(secret.get(name, "")) for name in ("purpose", "reference", "kind")},
        "readable": readable,
        "age_days": age // 86_400 if isinstance(age, int) else None,
        "max_age_days": bound // 86_400 if isinstance(bound, int) else None,
        "rotated_in_time": readable and young,
    }
