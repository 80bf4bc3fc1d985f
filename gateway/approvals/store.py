"""Approvals and stops as they are kept. What must happen once happens in one transaction, whichever process asks."""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from audit.event_id import uuid7
from gateway.approvals.database import OversightDatabase
from gateway.approvals.model import Approval, Asked, State, Stop, Terms, Verdict
from gateway.clock import NANOSECONDS
from gateway.errors import TooManyRefusalsError

MAX_OPEN = 100
"""Most requests of one caller that nobody decided on yet."""

KEEP_SECONDS = 30 * 86_400
"""How long a request is kept here after it expired; the audit log keeps its records for longer."""

_FIND = """
SELECT * FROM approvals
WHERE principal = ? AND delegation = ? AND action = ? AND resource_type = ? AND resource = ? AND operation = ?
  AND system = ? AND digest = ? AND used_ns = 0 AND expires_ns > ? AND state != 'void'
ORDER BY requested_ns DESC, approval_id DESC LIMIT 1
"""
_INSERT = """
INSERT INTO approvals (
    approval_id, principal, delegation, action, resource_type, resource, operation, system, digest,
    own, owner, bytes, four_eyes, requested_ns, expires_ns
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


class OversightStore:
    """Every method may wait for the disk, so an event loop calls it in a thread; `generation` and `stops` do not."""

    def __init__(self, state_dir: Path) -> None:
        """Open it.

        Raises:
            UnavailableError: it cannot be opened. Every other method raises it where the file cannot be used.
        """
        self._database = OversightDatabase(state_dir)

    def close(self) -> None:
        """Close it."""
        self._database.close()

    def generation(self) -> int:
        """Return the number of decisions, stops and resumptions so far."""
        with self._database.read() as connection:
            return int(connection.execute("SELECT value FROM generation").fetchone()[0])

    # approvals

    def request(
        self, asked: Asked, terms: Terms, *, own: Iterable[str], owner: str, size: int, now_ns: int
    ) -> Approval:
        """Return the request that stands for a call: one nobody used yet, or a new one.

        Raises:
            TooManyRefusalsError: too many of the caller's are open.
        """
        with self._database.write() as connection:
            row = connection.execute(_FIND, (*_values(asked), now_ns)).fetchone()
            if row is not None and not (terms.four_eyes and not row["four_eyes"]):
                return _approval(row)  # one that was asked for on weaker terms does not do
            self._make_room(connection, asked.principal, now_ns)
            approval = Approval(
                uuid7(), asked, tuple(own), owner, size, terms.four_eyes, now_ns,
                now_ns + terms.valid_seconds * NANOSECONDS,
            )  # fmt: skip
            connection.execute(
                _INSERT,
                (
                    approval.approval_id, *_values(asked), json.dumps(approval.own), owner, size, terms.four_eyes,
                    now_ns, approval.expires_ns,
                ),
            )  # fmt: skip
        return approval

    def _make_room(self, connection: sqlite3.Connection, principal: str, now_ns: int) -> None:
        connection.execute("DELETE FROM approvals WHERE expires_ns < ?", (now_ns - KEEP_SECONDS * NANOSECONDS,))
        query = "SELECT count(*) FROM approvals WHERE principal = ? AND state = 'pending' AND expires_ns > ?"
        if connection.execute(query, (principal, now_ns)).fetchone()[0] >= MAX_OPEN:
            raise TooManyRefusalsError(
                f"{MAX_OPEN} calls of {principal} wait for a person's approval already.",
                remedy="Wait until some of them are decided or have expired.",
                code="too_many_approvals",
            )

    def recorded(self, approval: Approval) -> Approval:
        """Note that the request is in the audit log: from now on people decide on it."""
        with self._database.write() as connection:
            connection.execute("UPDATE approvals SET recorded = 1 WHERE approval_id = ?", (approval.approval_id,))
        return replace(approval, recorded=True)

    def get(self, approval_id: str) -> Approval | None:
        """Return one request."""
        with self._database.read() as connection:
            row = connection.execute("SELECT * FROM approvals WHERE approval_id = ?", (approval_id,)).fetchone()
        return _approval(row) if row is not None else None

    def all(self, *, open_at_ns: int = 0) -> list[Approval]:
        """Return the requests, the oldest first; with `open_at_ns`, those that can be decided or used at that time."""
        query = "SELECT * FROM approvals WHERE recorded = 1"
        if open_at_ns:
            query += " AND used_ns = 0 AND state IN ('pending', 'granted') AND expires_ns > ?"
        with self._database.read() as connection:
            rows = connection.execute(f"{query} ORDER BY requested_ns", (open_at_ns,) if open_at_ns else ()).fetchall()
        return [_approval(row) for row in rows]

    def decide(self, before: Approval, verdict: Verdict, state: State) -> Approval | None:
        """Keep what a person decided; None if the request changed meanwhile, was used, or has expired."""
        verdicts = json.dumps([asdict(each) for each in (*before.verdicts, verdict)])
        known = json.dumps([asdict(each) for each in before.verdicts])
        with self._database.write() as connection:
            changed = connection.execute(
                "UPDATE approvals SET state = ?, verdicts = ? WHERE approval_id = ? AND state = ? AND verdicts = ? "
                "AND used_ns = 0 AND expires_ns > ?",
                (state, verdicts, before.approval_id, before.state, known, verdict.at_ns),
            ).rowcount
            if not changed:
                return None
            _raise_generation(connection)
        return replace(before, state=state, verdicts=(*before.verdicts, verdict))

    def withdraw(self, approval_id: str) -> None:
        """Make an approval void that was not used."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE approvals SET state = 'void' WHERE approval_id = ? AND used_ns = 0", (approval_id,)
            )

    def use(self, approval_id: str, now_ns: int) -> bool:
        """Use an approval up: True for one caller only, whichever process asks, and however often."""
        with self._database.write() as connection:
            changed = connection.execute(
                "UPDATE approvals SET used_ns = ? "
                "WHERE approval_id = ? AND state = 'granted' AND used_ns = 0 AND expires_ns > ?",
                (now_ns, approval_id, now_ns),
            ).rowcount
        return changed == 1

    # stops

    def stops(self) -> Mapping[str, Stop]:
        """Return the systems that are stopped."""
        with self._database.read() as connection:
            rows = connection.execute("SELECT system, by, reason, at_ns, drill FROM stops ORDER BY system").fetchall()
        stops = [Stop(row["system"], row["by"], row["reason"], row["at_ns"], bool(row["drill"])) for row in rows]
        return {stop.system: stop for stop in stops}

    def stop(self, stop: Stop) -> bool:
        """Stop a system; False if it is stopped already."""
        with self._database.write() as connection:
            changed = connection.execute(
                "INSERT OR IGNORE INTO stops VALUES (?, ?, ?, ?, ?)",
                (stop.system, stop.by, stop.reason, stop.at_ns, stop.drill),
            ).rowcount
            if changed:
                _raise_generation(connection)
        return changed == 1

    def resume(self, system: str) -> bool:
        """Let a system be called again; False if it is not stopped."""
        with self._database.write() as connection:
            changed = connection.execute("DELETE FROM stops WHERE system = ?", (system,)).rowcount
            if changed:
                _raise_generation(connection)
        return changed == 1


def _raise_generation(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE generation SET value = value + 1")


def _values(asked: Asked) -> tuple[str, ...]:
    return (
        asked.principal, json.dumps(asked.delegation), asked.action, asked.resource_type, asked.resource,
        asked.operation, asked.system, asked.digest,
    )  # fmt: skip


def _approval(row: sqlite3.Row) -> Approval:
    asked = Asked(
        row["principal"], tuple(json.loads(row["delegation"])), row["action"], row["resource_type"], row["resource"],
        row["operation"], row["system"], row["digest"],
    )  # fmt: skip
    return Approval(
        row["approval_id"], asked, tuple(json.loads(row["own"])), row["owner"], row["bytes"], bool(row["four_eyes"]),
        row["requested_ns"], row["expires_ns"], bool(row["recorded"]), row["state"],
        tuple(Verdict(**each) for each in json.loads(row["verdicts"])), row["used_ns"],
    )  # fmt: skip
