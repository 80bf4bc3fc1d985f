"""Knows how long each credential that the configuration refers to has been the same, for the evidence.

The age counts from when the value was first seen, or from the file's modification time where that is earlier. So a
`touch` makes nothing younger. Of a value only a keyed digest is kept, in the state directory.
"""

import hmac
import json
import os
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import structlog

from gateway.clock import NANOSECONDS
from gateway.config.model import GatewayConfig
from gateway.errors import UnavailableError
from gateway.secrets.references import references_of
from gateway.secrets.store import Secret
from identity.sealing import write_private

_log = structlog.get_logger("govgateway.observation")

FILE_NAME = "secret-ages.json"

SEALING_KEYS = frozenset({"seal_key"})
"""Keys that seal other keys at rest. They have no bound: replacing them means sealing everything anew."""

DAY = 86_400


class SecretAges:
    """Remembers since when values are what they are.

    Args:
        directory: where to remember.
        key: of the digests; not the secret of anybody else.
        read: resolves a reference; raises UnavailableError.
        clock: UNIX nanoseconds.
        state: returns what a store knows of a reference: `since` (UNIX seconds since when it has its value), `version`,
            `last_use` (UNIX seconds), `kind`; what it does not know is not there.
    """

    def __init__(
        self,
        directory: Path,
        key: bytes,
        read: Callable[[str], Secret],
        clock: Callable[[], int],
        state: Callable[[str], Mapping[str, Any]] = lambda _reference: {},
    ) -> None:
        self._path = directory / FILE_NAME
        self._key = hmac.digest(key, b"govgateway ages of secrets", "sha256")
        self._read = read
        self._clock = clock
        self._state = state

    def inventory(self, config: GatewayConfig, max_age_days: int) -> list[dict[str, Any]]:
        """Return the state of every credential, as `secret.inventory` has it, and remember what is new.

        What cannot be remembered, for want of space, is seen anew the next time: a value may then count as younger
        than it is only where its file says so.
        """
        now = self._clock() // NANOSECONDS
        known = self._known()
        seen: dict[str, list[Any]] = {}
        found: list[dict[str, Any]] = []
        for purpose, reference in sorted(references_of(config).items()):
            bound = 0 if purpose.rpartition(".")[2] in SEALING_KEYS else max_age_days * DAY
            known_state = self._state(reference)
            kind = known_state.get("kind", "static")
            state = {
                "reference": reference[:16_000],
                "purpose": purpose[:512],
                "kind": kind,
                "max_age_seconds": 0 if kind == "dynamic" else bound,
                **{name: known_state[name] for name in ("version", "last_use") if known_state.get(name)},
            }
            try:
                digest = hmac.digest(self._key, self._read(reference).reveal(), sha256).hex()
            except UnavailableError as error:
                if error.code == "secret_unknown":  # nobody needed it yet
                    continue
                found.append({**state, "readable": False})
                if purpose in known:
                    seen[purpose] = known[purpose]
                continue
            before = known.get(purpose)
            known_since = before[1] if before is not None and before[0] == digest else _first(reference, now)
            since = known_state.get("since") or known_since
            seen[purpose] = [digest, since]
            found.append({**state, "readable": True, "age_seconds": max(0, now - since)})
        if seen != known:
            try:
                write_private(self._path, json.dumps(seen, sort_keys=True).encode())
            except OSError as error:
                _log.warning("secret-ages-not-kept", path=str(self._path), detail=str(error))
        return found

    def _known(self) -> dict[str, list[Any]]:
        try:
            document = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        if not isinstance(document, dict):
            return {}
        return {
            name: each
            for name, each in document.items()
            if isinstance(each, list) and len(each) == 2 and isinstance(each[0], str) and isinstance(each[1], int)
        }


def _first(reference: str, now: int) -> int:
    """Return since when a value that was not known is at least there, UNIX seconds."""
    kind, _, place = reference.partition(":")
    if kind != "file":
        return now
    try:
        return min(now, int(os.stat(place).st_mtime))  # noqa: PTH116 - the reference may be any path
    except OSError:
        return now
