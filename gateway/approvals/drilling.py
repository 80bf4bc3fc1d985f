"""The exercise of stopping a system: it is stopped for real until every worker refuses its calls, and then resumed."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.approvals.deciding import Halting, Record

DRILL_SECONDS = 10.0
"""How long the workers have to put a stop in force before the exercise counts as failed (seconds)."""

_POLL_SECONDS = 0.05

StoppedByWorker = Callable[[], Sequence[frozenset[str]]]
"""Returns, for each worker that should serve, the systems that it refuses as stopped."""


@dataclass(frozen=True, slots=True)
class Drill:
    """How an exercise went.

    Attributes:
        passed: whether every worker had the stop in force in time.
        workers: how many had.
        milliseconds: until the last of them had, or until it was given up.
    """

    system: str
    passed: bool
    workers: int
    milliseconds: int


async def drill(
    halting: Halting,
    record: Record,
    stopped: StoppedByWorker,
    system: str,
    by: str,
    reason: str,
    peer: dict[str, str] | None = None,
) -> Drill:
    """Stop a system, see that every worker does, and resume it, whatever was seen.

    Args:
        halting: stops and resumes.
        record: writes to the audit log; may wait, so it is called in a thread.
        stopped: what the workers say.
        system, by, reason, peer: as `Halting.stop`.

    Raises:
        RequestError: the system is stopped already, or there is no reason.
        UnavailableError: it cannot be stopped, or not be put on record.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.to_thread(lambda: halting.stop(system, by, reason, peer=peer, drill=True))
    try:
        while True:
            in_force = [system in each for each in stopped()]
            passed = bool(in_force) and all(in_force)
            elapsed = loop.time() - began
            if passed or elapsed > DRILL_SECONDS:
                break
            await asyncio.sleep(_POLL_SECONDS)
    finally:
        await asyncio.to_thread(lambda: halting.resume(system, by, reason, peer=peer))
    result = Drill(system, passed, sum(in_force), int(elapsed * 1000))
    fields = {
        "principal": by,
        "system": system,
        "cause": reason.strip(),
        "result": "passed" if passed else "failed",
        "workers": result.workers,
        "milliseconds": result.milliseconds,
        **({"peer": peer} if peer is not None else {}),
    }
    await asyncio.to_thread(lambda: record("oversight.drilled", fields))
    return result
