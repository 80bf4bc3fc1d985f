"""The witnesses of this gateway's log: each checkpoint is shown to them, and what they say is heeded."""

import ssl
import time
from collections.abc import Sequence

import structlog

from audit.tlog.note import add_signature_lines, open_note
from audit.tlog.tiles import TileTree
from audit.witness.client import WitnessClient, WitnessError, collect
from audit.witness.policy import WitnessPolicy, WitnessPolicyError, parse_policy
from gateway.config.witness import Witnesses
from gateway.errors import ConfigError

_log = structlog.get_logger("govgateway.audit")


class AuditWitnesses:
    """Asks the witnesses of a policy; in one thread at a time.

    Attributes:
        problem: why the quorum is missing for longer than allowed; empty while it is not.
    """

    def __init__(self, policy: WitnessPolicy, clients: Sequence[WitnessClient], max_age: float) -> None:
        self._policy = policy
        self._clients = clients
        self._max_age = max_age
        self._met_at = time.monotonic()
        self._said = ""
        self._missing = ""

    @property
    def problem(self) -> str:
        """Why the gateway is not ready on account of its witnesses; empty while it is."""
        return self._missing if time.monotonic() - self._met_at > self._max_age else ""

    def cosign(self, note: bytes, tree: TileTree) -> bytes:
        """Return the checkpoint with the cosignatures that could be had within the time allowed.

        Raises:
            audit.witness.client.WitnessContradictsError: a witness knows another log than this one.
        """
        collected = collect(note, self._clients, tree.consistency_proof)
        cosigned = add_signature_lines(note, collected.lines) if collected.lines else note
        signatures = open_note(cosigned, self._policy.verifiers()).signatures if collected.lines else ()
        if self._policy.satisfied(signatures):
            self._met_at = time.monotonic()
            self._missing = ""
        else:
            self._missing = f"the witnesses' quorum is missing: {self._policy.explain(signatures)}"
        said = "; ".join(collected.failures)
        if said != self._said:
            _log.warning("audit-witnesses", failures=said) if said else _log.info("audit-witnesses", failures="none")
            self._said = said
        return cosigned

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            client.close()


def open_witnesses(config: Witnesses) -> AuditWitnesses | None:
    """Return the witnesses that the configuration names; None without.

    Raises:
        ConfigError: the policy or a URL in it is wrong.
    """
    if config.policy_file is None:
        return None
    try:
        policy = parse_policy(config.policy_file.read_text())
        tls = ssl.create_default_context(cafile=config.ca_file) if config.ca_file else None
        clients = [
            WitnessClient(witness, timeout=config.timeout_seconds, tls=tls) for witness in policy.witnesses.values()
        ]
    except (OSError, UnicodeDecodeError, WitnessPolicyError, WitnessError) as error:
        raise ConfigError(f"audit.witnesses.policy_file: {error}") from error
    return AuditWitnesses(policy, clients, config.max_age_seconds)
