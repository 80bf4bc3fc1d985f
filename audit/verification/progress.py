"""How far a log was verified: kept by whoever verifies, so that the next time only what is new is read.

It never weakens a verification: the records at which it stopped must still be there, with the same hashes, and the tree
must have grown from the checkpoint that was seen. What lies before is not read again; whoever wants to know that it was
not changed since on this disk verifies without it.
"""

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from audit.chain import Head
from audit.errors import AuditError
from audit.verification.findings import ChainReport, OpenIntent

VERSION = 1


class VerifiedStateError(AuditError):
    """A state file cannot be used."""


@dataclass(frozen=True, slots=True)
class ChainState:
    """Where the verification of a chain stopped.

    Attributes:
        head: the last record that was verified.
        time_ns: its time.
        greatest_id: the greatest event id so far.
        kept_from: first record that retention had left.
        open_calls: calls that were under way.
    """

    head: Head
    time_ns: int
    greatest_id: str
    kept_from: int = 0
    open_calls: dict[str, OpenIntent] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VerifiedState:
    """How far a log was verified.

    Attributes:
        log: name of the log.
        chains: by name.
        checkpoint: the signed checkpoint that was verified; empty if there was none.
    """

    log: str
    chains: dict[str, ChainState]
    checkpoint: str = ""

    @classmethod
    def after(cls, log: str, reports: list[ChainReport], checkpoint: str = "") -> "VerifiedState":
        """Return the state after a verification that found nothing wrong."""
        return cls(
            log,
            {
                r.chain: ChainState(r.head, r.time_ns, r.greatest_id, r.kept_from, dict(r.open_calls))
                for r in reports
                if r.head.sequence >= 0
            },
            checkpoint,
        )


def load_state(path: Path, log: str) -> VerifiedState | None:
    """Read a state file; None if there is none yet.

    Raises:
        VerifiedStateError: it is of another log, or no state file.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise VerifiedStateError(f"{path} cannot be read: {error}") from error
    try:
        document = orjson.loads(raw)
        known = document["version"] == VERSION
        state = VerifiedState(
            document["log"],
            {name: _chain_state(each) for name, each in document["chains"].items()},
            document["checkpoint"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise VerifiedStateError(
            f"{path} is no state of a verification ({error!r:.200}); move it away to verify everything anew"
        ) from error
    if not known:
        raise VerifiedStateError(f"{path} was written by another version; move it away to verify everything anew")
    if state.log != log:
        raise VerifiedStateError(f"{path} is about the log {state.log}, not {log}; name another file")
    return state


def save_state(path: Path, state: VerifiedState) -> None:
    """Write a state file, whole or not at all.

    Raises:
        VerifiedStateError: it cannot be written.
    """
    data = orjson.dumps({"version": VERSION, **asdict(state)}, option=orjson.OPT_INDENT_2)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise VerifiedStateError(f"{path} cannot be written: {error}") from error


def _chain_state(document: dict[str, object]) -> ChainState:
    head, intents = document["head"], document["open_calls"]
    if not isinstance(head, dict) or not isinstance(intents, dict):
        raise TypeError("a chain without head or calls")
    return ChainState(
        Head(int(head["sequence"]), str(head["hash"])),
        int(str(document["time_ns"])),
        str(document["greatest_id"]),
        int(str(document["kept_from"])),
        {name: OpenIntent(int(each["sequence"]), int(each["time_ns"])) for name, each in intents.items()},
    )
