"""Turns the raw runs into one line per target: medians over the rounds, differences to the direct path."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

from harness.metrics import REQUESTS, STAGES

Json = dict[str, Any]

DIRECT = "direct"
OURS = "govgateway"
# Below this share of its cores a target at saturation was waiting for the parts around it.
FULL_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Line:
    """What was found for one target; None where it was not measured or gave no answer.

    Attributes:
        name: short name.
        per_second: requests per second at saturation, one worker.
        per_second_two: the same with two workers.
        cores_used: cores it used at saturation with one worker.
        cpu_ms: CPU milliseconds of its processes per thousand requests, at saturation with one worker.
        median_ms: median latency at the fixed rate less that of the direct path, milliseconds.
        p99_ms: the same of the 99th percentiles.
        pss: largest proportional resident memory seen with one worker, bytes.
        rss: largest sum of resident sets seen with one worker, bytes.
        first_ms: median time to first event less that of the direct path, milliseconds.
        first_p99_ms: the same of the 99th percentiles.
        chunks_per_second: events relayed per second with all streams open.
        errors: requests that failed, in all runs.
        starved_streams: streams of the measured time that saw no event at all.
    """

    name: str
    per_second: float | None
    per_second_two: float | None
    cores_used: float | None
    cpu_ms: float | None
    median_ms: float | None
    p99_ms: float | None
    pss: int | None
    rss: int | None
    first_ms: float | None
    first_p99_ms: float | None
    chunks_per_second: float | None
    errors: int
    starved_streams: int

    @property
    def limited_from_outside(self) -> bool:
        """Tell whether the parts around the target ran out before it did."""
        return self.name != DIRECT and self.cores_used is not None and self.cores_used < FULL_SHARE

    @property
    def per_core_second(self) -> float | None:
        """Requests per second of its own CPU time: what one core could do with nothing in its way."""
        return 1e6 / self.cpu_ms if self.cpu_ms else None


@dataclass(frozen=True, slots=True)
class Bar:
    """One expectation and what was measured against it."""

    text: str
    measured: str
    passed: bool | None


class Summary:
    """The lines of all targets of one run."""

    def __init__(self, raw: Json) -> None:
        self._runs: list[Json] = raw["runs"]
        self.lines = {name: self._line(name) for name in [DIRECT, *raw["targets"]]}

    def _select(self, target: str, workers: int, mode: str) -> list[Json]:
        wanted = (target, workers, mode)
        return [run for run in self._runs if (run["target"], run["workers"], run["mode"]) == wanted]

    def _line(self, name: str) -> Line:
        full, streams = self._select(name, 1, "saturate"), self._select(name, 1, "stream")
        mine = [run for run in self._runs if run["target"] == name]
        one = [run["memory"] for run in mine if run["workers"] == 1]
        has_processes = name != DIRECT
        return Line(
            name=name,
            per_second=_median(run["requests_per_second"] for run in full),
            per_second_two=_median(run["requests_per_second"] for run in self._select(name, 2, "saturate")),
            cores_used=_median(run["cores_used"] for run in full) if has_processes else None,
            cpu_ms=_median(run["cpu_seconds"] / run["requests_total"] * 1e6 for run in full if run["requests_total"])
            if has_processes
            else None,
            median_ms=self._added(name, "rate", "latency_us", "p50"),
            p99_ms=self._added(name, "rate", "latency_us", "p99"),
            pss=max((used["pss"] for used in one), default=None) if has_processes else None,
            rss=max((used["rss"] for used in one), default=None) if has_processes else None,
            first_ms=self._added(name, "stream", "first_event_us", "p50"),
            first_p99_ms=self._added(name, "stream", "first_event_us", "p99"),
            chunks_per_second=_median(run.get("events_per_second", 0.0) for run in streams),
            errors=sum(run["errors"] for run in mine),
            starved_streams=sum(run["streams_without_event"] for run in streams),
        )

    def _added(self, name: str, mode: str, group: str, percentile: str) -> float | None:
        """Return the median over the rounds of target less direct path (of direct: itself), milliseconds."""
        direct = {run["round"]: run for run in self._select(DIRECT, 1, mode)}
        found = []
        for run in self._select(name, 1, mode):
            base = direct.get(run["round"])
            if group not in run or base is None or group not in base:
                continue
            own = base[group][percentile] if name != DIRECT else 0.0
            found.append((run[group][percentile] - own) / 1000)
        return _median(found)

    def disturbed(self, share: float) -> list[Json]:
        """Return the runs in which other programs, or the machine's host, used more than that many cores."""
        return [run for run in self._runs if run["stranger_cores_used"] > share]

    def stages(self, mode: str) -> list[tuple[str, float]]:
        """Return (stage, mean microseconds per request) of our gateway, in the order of a request's life."""
        totals: dict[str, float] = {}
        for run in self._select(OURS, 1, mode):
            for name, value in run.get("counters", {}).items():
                totals[name] = totals.get(name, 0.0) + value
        requests = totals.pop(REQUESTS, 0.0)
        names = sorted(totals, key=lambda name: STAGES.index(name) if name in STAGES else len(STAGES))
        return [(name, totals[name] / requests * 1e6) for name in names] if requests else []

    def bars(self) -> list[Bar]:
        """Return every expectation with what was measured; passed is None where a side is missing."""
        ours = self.lines.get(OURS)
        return [
            _at_least("requests/s of LiteLLM, times", 25, ours, self.lines.get("litellm")),
            _at_least("requests/s of Portkey, times", 2.5, ours, self.lines.get("portkey")),
            _at_least("requests/s of ferrogw, times", 0.5, ours, self.lines.get("ferrogw")),
            _at_least("requests/s of bare Envoy with mutual TLS, times", 0.4, ours, self.lines.get("envoy")),
            _below("added median latency at 200 requests/s, ms", 1.5, ours, lambda line: line.median_ms),
            _below("resident memory, MB", 150, ours, lambda line: line.pss and line.pss / 1e6),
        ]


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return median(found) if found else None


def _at_least(text: str, factor: float, ours: Line | None, peer: Line | None) -> Bar:
    if not (ours and peer and ours.per_second and peer.per_second):
        return Bar(f"at least {factor:g}: {text}", "not measured", None)
    ratio = ours.per_second / peer.per_second
    measured = f"{ratio:.2f}"
    if ours.per_core_second and peer.per_core_second:
        measured += f" ({ours.per_core_second / peer.per_core_second:.2f} by CPU time)"
    return Bar(f"at least {factor:g}: {text}", measured, ratio >= factor)


def _below(text: str, limit: float, ours: Line | None, value: Callable[[Line], float | None]) -> Bar:
    measured = value(ours) if ours else None
    if measured is None:
        return Bar(f"under {limit:g}: {text}", "not measured", None)
    return Bar(f"under {limit:g}: {text}", f"{measured:.2f}", measured < limit)
