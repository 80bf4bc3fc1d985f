"""The policy engine that asks an OPA server: no usable decision from the expected revision, no call passes."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from gateway.authorization.decision_form import MALFORMED_DENY, MalformedDecisionError, parse_decision
from gateway.authorization.engine import Decision, PolicyInput
from gateway.authorization.opa.address import parse_address
from gateway.authorization.opa.client import OpaAwayError, OpaClient
from gateway.errors import UnavailableError

TIMEOUT_SECONDS = 0.25
"""Time for one decision, waiting for a connection included (seconds)."""

PATH = "/v1/data/govgateway/authz/decision"
"""The entry point in OPA's data API."""

# A builtin that fails ends the evaluation, as in the embedded engine; by default OPA makes the call undefined, and
# `not f(x)` would hold. Provenance names the revision that answered.
_QUERY = "?provenance=true&strict-builtin-errors=true"


def _ignore(_detail: str) -> None:
    pass


class OpaEngine:
    """A `PolicyEngine` over one OPA server.

    Args:
        address: `http://127.0.0.1:8181` (this machine only), `https://host:port` or `unix:///path/opa.sock`.
        timeout_seconds: time for one decision: waiting for a connection, connecting, asking and answering (seconds).
        connections: most connections open at a time.
        expected_revision: the revision that must have answered, as the bundle's manifest names it; empty for any.
        on_malformed: told what was wrong, each time a `policy_malformed` deny stands in for an answer.
        ca_file, client_cert_file, client_key_file: PEM files for an `https://` address.

    Attributes:
        malformed: how often that happened.

    Raises:
        ConfigError: the address or a file cannot be used.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        connections: int = 32,
        expected_revision: str = "",
        on_malformed: Callable[[str], None] = _ignore,
        ca_file: Path | None = None,
        client_cert_file: Path | None = None,
        client_key_file: Path | None = None,
    ) -> None:
        where = parse_address(
            address, ca_file=ca_file, client_cert_file=client_cert_file, client_key_file=client_key_file
        )
        self._client = OpaClient(where, connections)
        self._timeout = timeout_seconds
        self._expected = expected_revision
        self._on_malformed = on_malformed
        self._head = (
            f"POST {PATH}{_QUERY} HTTP/1.1\r\nhost: {where.authority}\r\ncontent-type: application/json\r\n"
        ).encode()
        self.malformed = 0

    async def decide(self, policy_input: PolicyInput) -> Decision:
        """Return the decision for this input; a deny for whatever the policy does wrong.

        Raises:
            UnavailableError: OPA is away, too slow, failing, or runs another revision than the gateway.
        """
        try:
            body = b'{"input":%b}' % orjson.dumps(policy_input)
        except (TypeError, ValueError) as error:
            return self._malformed(f"the input is not JSON: {error}")
        head = b"%bcontent-length: %d\r\n\r\n" % (self._head, len(body))
        try:
            deadline = asyncio.get_running_loop().time() + self._timeout
            status, answer = await self._client.ask(head, body, deadline)
        except OpaAwayError as error:
            raise unavailable(str(error)) from error
        return self._read(status, answer)

    def close(self) -> None:
        """Close the connections; decisions under way fail as unavailable."""
        self._client.close()

    def _read(self, status: int, answer: bytes) -> Decision:
        if status >= 500:
            failure = _evaluation_failure(answer)
            if failure:
                return self._malformed(failure)
            raise unavailable(f"{self._client.address.text} answered with status {status}")
        if status != 200:
            return self._malformed(f"OPA answered with status {status}: {answer[:200].decode(errors='replace')}")
        try:
            document = orjson.loads(answer)
        except ValueError as error:
            return self._malformed(f"OPA's answer is not JSON: {error}")
        if not isinstance(document, dict):
            return self._malformed("OPA's answer is not an object")
        if self._expected:
            self._check_revision(document.get("provenance"))
        try:
            return parse_decision(document.get("result"))
        except MalformedDecisionError as error:
            return self._malformed(str(error))

    def _check_revision(self, provenance: Any) -> None:
        """Refuse the answer of an OPA that has not activated, or still or already runs another revision."""
        found = _revisions(provenance)
        if self._expected not in found:
            runs = ", ".join(sorted(found))[:200] or "none that it names"
            raise unavailable(
                f"{self._client.address.text} runs the revision {runs}, the gateway {self._expected}; "
                "the bundle's manifest names the revision"
            )

    def _malformed(self, detail: str) -> Decision:
        self.malformed += 1
        self._on_malformed(detail)
        return MALFORMED_DENY


def unavailable(cause: str) -> UnavailableError:
    """Return the refusal while OPA does not decide; the caller is not told where it is, the log is."""
    error = UnavailableError(
        "The policy engine does not decide, so no call passes.",
        remedy="Try again; if it lasts, tell the operator.",
        code="policy_engine_unavailable",
        headers=[(b"retry-after", b"1")],
    )
    error.__cause__ = OpaAwayError(cause)
    return error


def _revisions(provenance: Any) -> set[str]:
    """Return the revisions named by OPA's provenance: of each bundle, or of the only one in older servers."""
    if not isinstance(provenance, dict):
        return set()
    bundles = provenance.get("bundles")
    named = [provenance.get("revision")]
    if isinstance(bundles, dict):
        named += [each.get("revision") for each in bundles.values() if isinstance(each, Mapping)]
    return {revision for revision in named if isinstance(revision, str) and revision}


def _evaluation_failure(answer: bytes) -> str:
    """Return what failed where a 5xx says that the policy, not the server, did wrong; else nothing."""
    try:
        errors = orjson.loads(answer)["errors"]
        failures = [(str(each["code"]), str(each["message"])) for each in errors]
    except (ValueError, TypeError, KeyError):
        return ""
    if not failures or not all(code.startswith("eval_") and code != "eval_cancel_error" for code, _ in failures):
        return ""
    return "; ".join(f"{code}: {message}" for code, message in failures)[:500]
