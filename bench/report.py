"""Writes the benchmark's report: raw.json of a run becomes report.md and comparison.svg beside it."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.chart import Panel, draw
from harness.summary import DIRECT, OURS, Bar, Summary

NONE = "–"
MARK = "†"

TOPOLOGY = (
    "Load generator → Envoy as the client's sidecar → target → backend. Mutual TLS between the sidecar and "
    "govgateway, nginx and Envoy; plain HTTP towards the other gateways, which verify no client certificates. "
    "`bench/README.md` says how each figure is taken."
)

STAGES_NOTE = (
    "Times by the clock, waiting included: `relay` waits for the disk where the answer came first, `forward` for the "
    "backend, and at saturation every stage that waits also waits for the other requests' turns."
)

Json = dict[str, Any]


def number(value: float | None, digits: int = 0) -> str:
    """Return the value with thousands separated, or a dash."""
    return NONE if value is None else f"{value:,.{digits}f}"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table, the first column to the left and the others to the right."""
    names = list(head)
    lines = [names, ["---", *["---:"] * (len(names) - 1)], *[list(row) for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def calls_table(raw: Json, summary: Summary) -> str:
    """Return the table of calls with a fixed answer."""
    rows = []
    for line in summary.lines.values():
        mark = f" {MARK}" if line.limited_from_outside else ""
        rows.append(
            [
                title(raw, line.name),
                number(line.per_second) + mark,
                number(line.per_second_two),
                number(line.cores_used, 2),
                number(line.cpu_ms),
                number(line.median_ms, 2),
                number(line.p99_ms, 2),
                number(line.pss and line.pss / 1e6),
                number(line.rss and line.rss / 1e6),
                str(line.errors),
            ]
        )
    head = [
        *("target", "requests/s, 1 worker", "2 workers", "cores used", "CPU ms per 1,000 requests"),
        *("added median, ms", "added p99, ms", "PSS, MB", "RSS, MB", "errors"),
    ]
    return table(head, rows)


def streams_table(raw: Json, summary: Summary) -> str:
    """Return the table of streams."""
    rows = [
        [
            title(raw, line.name),
            number(line.chunks_per_second),
            number(line.first_ms, 1),
            number(line.first_p99_ms, 1),
            str(line.starved_streams),
        ]
        for line in summary.lines.values()
    ]
    head = [
        "target",
        "chunks/s",
        "added time to first chunk, median, ms",
        "p99, ms",
        "streams without a chunk",
    ]
    return table(head, rows)


def title(raw: Json, name: str) -> str:
    """Return the name of a target for a reader."""
    if name == DIRECT:
        return "no gateway (sidecar to backend; absolute values)"
    shown: str = raw["targets"][name]["title"]
    return f"**{shown}**" if name == OURS else shown


def bars_table(bars: Iterable[Bar]) -> str:
    """Return the table of expectations."""
    verdict = {True: "pass", False: "**miss**", None: "not measured"}
    return table(["expected of one worker", "measured", ""], [[b.text, b.measured, verdict[b.passed]] for b in bars])


def stages_table(raw: Json, summary: Summary) -> str:
    """Return where the time of our request goes."""
    full, calm = dict(summary.stages("saturate")), dict(summary.stages("rate"))
    if not full and not calm:
        return "The gateway was not measured, or its operations listener has no stage counters."
    ours = summary.lines[OURS]
    rows = [[stage, number(full.get(stage), 1), number(calm.get(stage), 1)] for stage in full or calm]
    rows.append(["all stages", number(sum(full.values()), 1), number(sum(calm.values()), 1)])
    rows.append(["CPU of its processes, everything included", number(ours.cpu_ms, 1), NONE])
    heading = ["stage", "µs per request at saturation", f"at {fixed_rate(raw):g} requests/s"]
    return f"{table(heading, rows)}\n\n{STAGES_NOTE}"


def notes(raw: Json, summary: Summary) -> list[str]:
    """Return what a reader must know to judge the figures."""
    found = []
    slow = [line for line in summary.lines.values() if line.per_second and line.per_second < 1.1 * fixed_rate(raw)]
    if any(line.limited_from_outside for line in summary.lines.values()):
        found.append(
            f"{MARK} Its core was not full: the generator, the sidecar and the backend ran out first, so the "
            "figure is a lower bound. The ratio by CPU time has no such ceiling: it compares requests per second "
            "of the target's own CPU time."
        )
    found += [
        f"{title(raw, line.name)} cannot sustain {fixed_rate(raw):g} requests/s; its latencies there are those "
        "of a queue that grows."
        for line in slow
    ]
    found += [
        f"{title(raw, line.name)}: {line.errors} requests failed; see `first_error` in `raw.json`."
        for line in summary.lines.values()
        if line.errors
    ]
    if disturbed := summary.disturbed(0.1):
        worst = max(run["stranger_cores_used"] for run in disturbed)
        found.append(
            f"The machine was not ours alone: in {len(disturbed)} of {len(raw['runs'])} runs something else used "
            f"more than a tenth of a core, at most {worst:.2f} cores. Repeat on a quiet machine."
        )
    if raw["left_out"]:
        found.append(f"Left out as asked: {', '.join(raw['left_out'])}.")
    return found


def fixed_rate(raw: Json) -> float:
    """Return the requests per second of the fixed rate."""
    return float(raw["plan"]["requests_per_second"])


def setup(raw: Json) -> str:
    """Return how and on what was measured."""
    plan, machine = raw["plan"], raw["machine"]
    rows = [[t["title"], t["version"], t["setup"]] for t in raw["targets"].values()]
    heading = ["target", "version", "set up"]
    lines = ["| " + " | ".join(line) + " |" for line in [heading, ["---"] * 3, *rows]]
    where = (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, Linux "
        f"{machine['kernel']}; started {raw['began']}, took {raw['seconds']} s."
    )
    how = (
        f"Medians of {plan['rounds']} interleaved round(s). At saturation {plan['connections_per_worker']} "
        f"connections per worker for {plan['saturate']:g} s; at the fixed rate {plan['requests_per_second']:g} "
        f"requests/s for {plan['rate']:g} s, latency counted from the moment a request was due; "
        f"{plan['streams']} streams of {plan['stream_events']} chunks, one every "
        f"{plan['stream_pace'] * 1000:g} ms, for {plan['stream']:g} s. "
        f"Backend: {raw['backend']}. Network: {raw['network']}."
    )
    return "\n".join([where, "", how, "", *lines])


def parts(directory: Path) -> str:
    """Return what the parts' own benchmarks printed."""
    texts = {path.stem: path.read_text().rstrip() for path in sorted((directory / "parts").glob("*.txt"))}
    # A part that prints Markdown stays as it is; anything else is shown as it was printed.
    shown = {name: text if "| --" in text else f"```\n{text}\n```" for name, text in texts.items()}
    return "\n\n".join(f"### {name}\n\n{text}" for name, text in shown.items()) or "None was run."


def markdown(raw: Json, summary: Summary, directory: Path) -> str:
    """Return the whole report."""
    sections = [
        "# Benchmark",
        TOPOLOGY,
        "![comparison](comparison.svg)",
        "## Expectations",
        bars_table(summary.bars()),
        "## Calls",
        calls_table(raw, summary),
        "## Streams",
        streams_table(raw, summary),
        "## Where the time of a request goes",
        stages_table(raw, summary),
        "## Notes",
        "\n".join(f"- {note}" for note in notes(raw, summary)) or "None.",
        "## Set-up",
        setup(raw),
        "## Parts by themselves",
        parts(directory),
    ]
    return "\n\n".join(sections) + "\n"


def chart(raw: Json, summary: Summary) -> str:
    """Return the plot."""

    def bars(value: str) -> list[tuple[str, float, bool]]:
        found: list[tuple[str, float, bool]] = []
        for line in summary.lines.values():
            measured = getattr(line, value)
            if line.name != DIRECT and measured is not None:
                found.append((raw["targets"][line.name]["title"].split(",")[0], measured, line.name == OURS))
        return found

    return draw(
        [
            Panel("requests per second at saturation, one worker", bars("per_second")),
            Panel("CPU milliseconds per thousand requests", bars("cpu_ms")),
            Panel("chunks relayed per second, 500 streams", bars("chunks_per_second")),
        ]
    )


def main() -> int:
    """Write the report of the run in the directory named on the command line."""
    if len(sys.argv) != 2:
        print("usage: report.py DIRECTORY", file=sys.stderr)
        return 2
    directory = Path(sys.argv[1])
    raw: Json = json.loads((directory / "raw.json").read_text())
    summary = Summary(raw)
    report = markdown(raw, summary, directory)
    (directory / "report.md").write_text(report)
    (directory / "comparison.svg").write_text(chart(raw, summary))
    print(report)
    print(f"report: {directory / 'report.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
