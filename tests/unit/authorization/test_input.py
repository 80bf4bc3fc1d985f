"""The policy input has the form of the contract, whatever the call."""

from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.engine import System
from gateway.authorization.input import admin_input, model_input
from gateway.authorization.policy_set import LoadedPolicySet
from gateway.protocols.base import Call
from identity.registry import Agent
from tests.unit.authorization.conftest import call

AGENT = Agent(
    id="spiffe://example.org/agent/reader",
    kind="agent",
    team="research",
    owner="ada@example.org",
    status="active",
    risk_tier="limited",
    attributes={"site": "north"},
)
CHAT = Call("openai", "chat.completions", "model.infer", "model", "example-chat", "/chat/completions")


def shape(value: object) -> object:
    return {key: shape(item) for key, item in value.items()} if isinstance(value, dict) else type(value)


def test_model_call_becomes_the_contracts_document() -> None:
    chat = Call(
        "openai", "chat.completions", "model.infer", "model", "m", "/x", stream=True, max_tokens=7, tools=("t",)
    )
    system = System("assistant", "limited", ("internal",), {})
    assert model_input(AGENT, ("a", "b"), chat, system, "eu-west", "local", "test") == {
        "principal": {
            "id": "spiffe://example.org/agent/reader",
            "kind": "agent",
            "team": "research",
            "owner": "ada@example.org",
            "status": "active",
            "risk_tier": "limited",
            "roles": ["a", "b"],
            "break_glass": [],
            "delegation": [],
            "attributes": {"site": "north"},
        },
        "action": "model.infer",
        "resource": {
            "type": "model",
            "id": "m",
            "system": "assistant",
            "risk": "limited",
            "region": "eu-west",
            "data_classes": ["internal"],
        },
        "request": {"protocol": "openai", "stream": True, "max_tokens": 7, "tools": ["t"], "data_classes": []},
        "context": {"region": "local", "environment": "test"},
    }


def test_every_document_has_the_same_keys_and_types() -> None:
    known = model_input(AGENT, (), CHAT, System("assistant", "limited"), "", "local", "test")
    unknown = model_input(AGENT, (), CHAT, None, "", "local", "test")
    admin = admin_input(AGENT, (), "admin.config.reload", "/v1/reload", "local", "test")
    assert {**known["principal"], "attributes": {}} == {**admin["principal"], "attributes": {}}
    for document in (known, unknown, admin):
        document["principal"]["attributes"] = {}
        assert shape(document) == shape(call())


def test_documents_of_the_first_day_are_decided_as_intended(starter: LoadedPolicySet) -> None:
    engine = EmbeddedEngine(starter)
    roles = starter.roles_of(AGENT.id, AGENT.team, AGENT.kind, now=0)
    chat = model_input(AGENT, roles, CHAT, starter.system("assistant"), "", "local", "test")
    assert engine.decide_now(chat).allow
    reload = admin_input(AGENT, roles, "admin.config.reload", "/v1/reload", "local", "test")
    assert engine.decide_now(reload).reasons == ("action_not_granted",)
    admin = admin_input(AGENT, ["platform-admin"], "admin.config.reload", "/v1/reload", "local", "test")
    assert engine.decide_now(admin).allow
