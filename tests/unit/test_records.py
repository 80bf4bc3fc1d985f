"""What the records of a call say: who, what, why, and who took away what was allowed before."""

from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from audit.chain import Head, link
from audit.event_id import uuid7
from audit.events import validate_record
from gateway import records
from gateway.authorization.engine import Decision
from gateway.authorization.input import model_input
from gateway.errors import GatewayError, IdentityRefusedError, PolicyDeniedError
from gateway.exchange import Exchange
from gateway.protocols.base import Call, Usage
from gateway.quota.ledger import Limit, LimitReached, Reservation, Standing
from identity.registry import Agent
from identity.verification import PeerIdentity

AGENT = "spiffe://t.test/agent/a"
LIMIT = Limit("team-tokens", f"team-tokens|{AGENT}", "tokens", 60, 1000)
CALL = Call("openai", "chat.completions", "model.infer", "model", "chat", "/chat/completions")


class Runtime:
    policies = SimpleNamespace(revision="r1", data_digest="d" * 64)
    models = {"chat": SimpleNamespace(upstream_name="served")}  # noqa: RUF012 - a fixed fake


class Audit:
    def digest(self, _payload: bytes) -> str:
        return "e" * 64


def exchange(status: str = "active", *, call: Call | None = CALL) -> Any:
    agent = Agent(AGENT, "agent", "blue", "kim", status, "limited", status_reason="it was stolen")
    made = Exchange({"method": "POST", "path": "/v1/chat/completions", "headers": []}, None, None)  # type: ignore[arg-type]
    made.peer = PeerIdentity(AGENT, "t.test", "/agent/a", "0a", "f" * 64, 1, 2)
    made.agent, made.call, made.body = agent, call, b"{}"
    made.digest = SimpleNamespace(hexdigest=lambda: "d" * 64)
    if call is not None:
        made.policy_input = model_input(agent, ("reader",), call, None, "", "eu", "test")
        made.decision = Decision(allow=True, reasons=("granted",))
        made.reservation = Reservation(1, 300, (LIMIT,), ())
    return made


def written(record_type: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the record as it is stored; it is as its type's definition says."""
    document: dict[str, Any] = orjson.loads(link(Head(), "t.test/audit", "w", uuid7(), 1, record_type, fields).record)
    assert validate_record(document) == []
    return document


def denied(made: Any, error: GatewayError) -> dict[str, Any]:
    return written("access.denied", records.denied(made, Runtime(), error, Audit()))  # type: ignore[arg-type]


def test_an_intent_names_model_risk_and_what_is_reserved() -> None:
    record = written("access.intent", records.intent(exchange(), Runtime(), Audit()))  # type: ignore[arg-type]
    assert record["model"] == {"name": "chat", "upstream": "served"}
    assert record["risk"] == {"agent": "limited", "status": "active", "system": ""}
    assert record["quota"] == {"reserved_tokens": 300, "limits": [LIMIT.key]}


def test_an_outcome_says_again_what_its_intent_said() -> None:
    made = exchange()
    fields = records.intent(made, Runtime(), Audit())  # type: ignore[arg-type]
    made.request_id = uuid7()
    made.intent = SimpleNamespace(fields=fields)
    made.meter = SimpleNamespace(usage=Usage(10, 20, known=True))
    record = written("access.outcome", records.outcome(made, "completed", "", 30))
    for name in ("principal", "action", "resource", "system", "model", "delegation", "trace_id"):
        assert record[name] == orjson.loads(orjson.dumps(fields[name]))
    assert record["usage"] == {"input_tokens": 10, "output_tokens": 20, "reported": True, "charged_tokens": 30}
    assert "revocation" not in record


def test_an_answer_that_a_revocation_cuts_says_who_took_what_and_why() -> None:
    made = exchange()
    made.intent = SimpleNamespace(fields=records.intent(made, Runtime(), Audit()))  # type: ignore[arg-type]
    made.request_id = uuid7()
    made.agent = exchange("quarantined").agent
    made.cut_by = IdentityRefusedError(f"{AGENT} is quarantined.", code="identity-quarantined")
    record = written("access.outcome", records.outcome(made, "cut", "identity-quarantined", 300))
    cause = f"{AGENT} is quarantined. it was stolen"
    assert record["revocation"] == {"code": "identity-quarantined", "cause": cause}


@pytest.mark.parametrize("record_type", ["access.denied", "quota.exceeded"])
def test_a_call_that_a_limit_refuses_names_the_limit(record_type: str) -> None:
    error = LimitReached(Standing(LIMIT, -5, 7), 7, "used up")
    record = written(record_type, records.denied(exchange(), Runtime(), error, Audit()))  # type: ignore[arg-type]
    assert record["reasons"] == ["quota_tokens"]
    assert record["quota"] == {
        "limit": LIMIT.key, "unit": "tokens", "window_seconds": 60, "amount": 1000, "remaining": -5,
        "retry_after_seconds": 7,
    }  # fmt: skip


@pytest.mark.parametrize("status", ["suspended", "quarantined", "retired"])
def test_a_refused_identity_says_who_was_taken_what_and_why(status: str) -> None:
    error = IdentityRefusedError(f"{AGENT} is {status}.", code=f"identity-{status}")
    record = denied(exchange(status, call=None), error)
    assert record["revocation"] == {"code": f"identity-{status}", "cause": f"{AGENT} is {status}. it was stolen"}
    assert (record["resource"], record["policy_input"], record["risk"]["status"]) == ({}, {}, status)
    assert "model" not in record


@pytest.mark.parametrize("code", ["leaf-expired", "identity-unregistered", "identity-pending", "jwt-replayed"])
def test_what_was_never_allowed_or_has_run_out_is_no_revocation(code: str) -> None:
    assert "revocation" not in denied(exchange(call=None), IdentityRefusedError("no", code=code))


def test_a_denial_of_the_policies_gives_their_reasons() -> None:
    made = exchange()
    made.decision = Decision(allow=False, reasons=("model_not_granted", "outside_hours"))
    record = denied(made, PolicyDeniedError("no", code="model_not_granted"))
    assert record["reasons"] == ["model_not_granted", "outside_hours"]
    assert (record["problem"], record["status"]) == ("policy-denied", 403)
