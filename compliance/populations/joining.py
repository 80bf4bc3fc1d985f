"""Joins calls with the credentials they came with, and revocations with the calls that came after."""

import sqlite3

from compliance.populations.collectors.base import SECOND

_AFTER = "calls.decision = 'allow' AND calls.time > :time AND calls.time < :lifted"
_ISSUED = "SELECT credential FROM _credentials WHERE"

_CALLS_OF = {
    "id": "calls.principal = :subject",
    "status": "calls.principal = :subject",
    "serial": "ltrim(lower(calls.credential), '0') = :serial",
    "entry": f"calls.credential IN ({_ISSUED} entry = :subject)",
    "authority": f"calls.credential IN ({_ISSUED} authority = :subject)",
    "node": f"(calls.principal = :subject OR calls.credential IN ({_ISSUED} parent = :subject))",
}
"""Calls that what was revoked stands behind, by the kind of the revocation."""


def join(connection: sqlite3.Connection) -> None:
    """Fill the columns that take two records to tell."""
    connection.execute("CREATE INDEX calls_leaf ON calls (leaf)")
    connection.execute("CREATE INDEX calls_time ON calls (time)")
    connection.execute(
        "UPDATE calls SET credential_lifetime_seconds = "
        "(SELECT lifetime FROM _credentials WHERE _credentials.credential = calls.credential) "
        "WHERE credential <> '' AND EXISTS (SELECT 1 FROM _credentials)"
    )
    _revoked(connection)


def _revoked(connection: sqlite3.Connection) -> None:
    revocations = connection.execute("SELECT rowid, kind, subject, time, lifted_at FROM revocations").fetchall()
    if not revocations:
        return
    connection.execute("CREATE INDEX calls_principal ON calls (principal, time)")
    connection.execute("CREATE INDEX calls_credential ON calls (credential, time)")
    connection.execute("CREATE INDEX calls_serial ON calls (ltrim(lower(credential), '0'), time)")
    for rowid, kind, subject, time_ns, lifted in revocations:
        asked = {
            "subject": subject,
            "serial": subject.lower().lstrip("0"),
            "time": time_ns,
            "lifted": lifted if lifted is not None else 2**63 - 1,
        }
        sql = f"SELECT count(*), max(calls.time) FROM calls WHERE {_CALLS_OF[kind]} AND {_AFTER}"  # noqa: S608 - ours
        count, last = connection.execute(sql, asked).fetchone()
        seconds = -((time_ns - last) // SECOND) if last is not None else 0
        connection.execute(
            "UPDATE revocations SET accepted_after = ?, seconds_to_last_accepted_call = ? WHERE rowid = ?",
            (count, seconds, rowid),
        )
