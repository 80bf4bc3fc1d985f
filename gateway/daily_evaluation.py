"""Has each day evaluated once it is over, by a process of its own with low priority, so that no call waits for it."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import structlog

from audit.export.source import CHECKPOINT, open_source
from compliance.daily import DIRECTORY, DailyResults
from compliance.errors import ComplianceError
from gateway import bound_to_parent
from gateway.app import open_audit_store
from gateway.clock import NANOSECONDS, Clock
from gateway.config import GatewayConfig
from gateway.telemetry import metrics

_log = structlog.get_logger("govgateway.compliance")

LOOK_SECONDS = 5.0
"""How often it is looked whether a day is due (seconds)."""

PATIENCE_SECONDS = 3600.0
"""How long one day may take to be evaluated (seconds)."""

FIRST_RETRY_SECONDS = 300.0
"""When a day that failed is tried again (seconds); each time twice as long, at most six hours."""

LAST_RETRY_SECONDS = 6 * 3600.0

DAYS_BACK = 7
"""How many days that nobody evaluated are made up for."""

PRIORITY = 10
"""Added to the niceness of the process."""

_COMMAND = "import sys; from gateway.cli import main; sys.argv[0] = 'govctl'; main()"


class DailyEvaluation:
    """Looks whether a day is over that has no result, and has it evaluated.

    Args:
        config: returns the running configuration.
        config_path: its file.
        clock: UNIX nanoseconds.
    """

    def __init__(self, config: Callable[[], GatewayConfig], config_path: Path, clock: Clock) -> None:
        self._config = config
        self._config_path = config_path
        self._clock = clock
        self._nothing_up_to = date.min
        self._retry_at = 0.0
        self._retry_seconds = FIRST_RETRY_SECONDS

    async def run(self) -> None:
        """Evaluate what is due, until cancelled; a process under way is then killed and its day is due again."""
        with contextlib.suppress(OSError):
            kept_at = DailyResults(self._config().state_dir / DIRECTORY).kept_at
            metrics.DAILY_EVALUATION.set(kept_at or 0)  # an alert has to go on where nothing succeeds after a restart
        while True:
            if self._config().compliance.daily.enabled and asyncio.get_running_loop().time() >= self._retry_at:
                try:
                    day = await asyncio.to_thread(self._due)
                    if day is not None:
                        await self._evaluate(day)
                        self._retry_seconds = FIRST_RETRY_SECONDS
                        continue
                except Exception as error:  # whatever it is: the gateway goes on, and says so
                    self._failed(str(error) or "it took too long")
            await asyncio.sleep(LOOK_SECONDS)

    def _due(self) -> date | None:
        """Return the earliest day that is over and has no result; None if there is none yet."""
        config, now = self._config(), datetime.fromtimestamp(self._clock() // NANOSECONDS, UTC)
        last = now.date() - timedelta(days=1 if now.strftime("%H:%M") >= config.compliance.daily.at else 2)
        if last <= self._nothing_up_to:
            return None
        kept = DailyResults(config.state_dir / DIRECTORY).last_whole() or date.min
        missing = [day for back in reversed(range(DAYS_BACK)) if (day := last - timedelta(days=back)) > kept]
        began = _began(config) if missing else date.min
        if began is None:  # nothing is signed yet
            return None
        due = next((day for day in missing if day >= began), None)
        if due is None:
            self._nothing_up_to = last
        return due

    async def _evaluate(self, day: date) -> None:
        """Run `govctl compliance record` for a day.

        Raises:
            ComplianceError: it failed, with what it said.
            TimeoutError: it took too long.
        """
        arguments = ("compliance", "record", "--day", str(day), "--config", str(self._config_path.absolute()))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", bound_to_parent.__file__, str(os.getpid()),
            sys.executable, "-P", "-c", _COMMAND, *arguments, "--scheduled", "--json",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"},
        )  # fmt: skip
        try:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, process.pid, PRIORITY)
            async with asyncio.timeout(PATIENCE_SECONDS):
                out, said = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        try:
            turned = [each["to"] for each in json.loads(out)["turned"]]
        except (ValueError, KeyError, TypeError):
            why = said.decode(errors="replace").strip()[-1000:] or f"the process ended with {process.returncode}"
            raise ComplianceError(f"{day}: {why}") from None
        metrics.DAILY_EVALUATION.set(self._clock() / NANOSECONDS)
        _log.info("day-evaluated", day=str(day), turned_red=turned.count("failed"))

    def _failed(self, why: str) -> None:
        metrics.DAILY_EVALUATION_FAILURES.inc()
        _log.error("day-not-evaluated", detail=why, retry_seconds=self._retry_seconds)
        self._retry_at = asyncio.get_running_loop().time() + self._retry_seconds
        self._retry_seconds = min(self._retry_seconds * 2, LAST_RETRY_SECONDS)


def _began(config: GatewayConfig) -> date | None:
    """Return the day of the first record that the signed log still has; None if nothing is signed yet."""
    if not (config.audit_tree / CHECKPOINT).exists():
        return None
    source = open_source(open_audit_store(config), config.audit_tree)
    first = next((leaf.record.time_ns for leaf in source.leaves() if leaf.record is not None), None)
    return None if first is None else datetime.fromtimestamp(first // NANOSECONDS, UTC).date()
