"""Reads the gateway's own counters of the time each stage of a request takes."""

import re
import urllib.request

SAMPLE = re.compile(r"^(govgateway_stage_(?:seconds|requests)_total)(?:\{([^}]*)\})? (\S+)", re.MULTILINE)
STAGE = re.compile(r'stage="([^"]*)"')

REQUESTS = "requests"
STAGES = ("identify", "parse", "decide", "reserve", "record", "forward", "relay", "settle")


def stage_counters(port: int) -> dict[str, float]:
    """Return seconds by stage and, under `requests`, the number of requests, summed over the workers."""
    # The address is built from a loopback port, never from outside.
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    counters: dict[str, float] = {}
    for name, labels, value in SAMPLE.findall(text):
        if name == "govgateway_stage_requests_total":
            counters[REQUESTS] = counters.get(REQUESTS, 0.0) + float(value)
        elif found := STAGE.search(labels):
            counters[found.group(1)] = counters.get(found.group(1), 0.0) + float(value)
    return counters
