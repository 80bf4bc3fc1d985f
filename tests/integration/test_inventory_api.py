"""The inventory over the control plane: identities, entries, revocations, and who may touch them."""

from collections.abc import Iterator

import httpx
import pytest

from tests.support.calls import eventually, plain, recorded
from tests.support.running_gateway import TRUST_DOMAIN, AgentFiles, RunningGateway

BOT = f"spiffe://{TRUST_DOMAIN}/agent/bot"


@pytest.fixture(scope="module")
def ada(gateway: RunningGateway) -> AgentFiles:
    return gateway.register("operator/ada", team="platform", kind="human")


@pytest.fixture
def admin(gateway: RunningGateway, ada: AgentFiles) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=f"https://localhost:{gateway.admin_port}/v1", verify=ada.tls(), trust_env=False, timeout=15
    ) as client:
        eventually("the operator is known", lambda: client.get("/status").status_code == 200)
        yield client


def test_an_identity_is_registered_and_moved_through_its_states(gateway, admin, ada):
    body = {"id": BOT, "team": "research", "owner": "grace@gateway.test", "purpose": "a test", "environment": "test"}
    made = admin.post("/agents", json=body)
    assert (made.status_code, made.json()["status"]) == (201, "active")
    assert recorded(gateway, "agent.registered", agent=BOT)["principal"] == ada.id
    again = admin.post("/agents", json=body)
    assert (again.status_code, again.json()["code"]) == (400, "inventory-refused")
    assert "registered already" in again.json()["detail"]
    moved = admin.post("/agents/status", json={"id": BOT, "status": "suspended", "reason": "a test"})
    assert moved.json()["status"] == "suspended"
    wrong = admin.post("/agents/status", json={"id": BOT, "status": "suspended", "reason": "a test"})
    assert wrong.status_code == 400
    assert admin.post("/agents/status", json={"id": BOT, "status": "pending", "reason": "x"}).status_code == 400
    assert BOT in {agent["id"] for agent in admin.get("/agents").json()}


def test_entries_are_created_replaced_and_deleted(gateway, admin):
    body = {"spiffe_id": f"spiffe://{TRUST_DOMAIN}/agent/entry", "selectors": ["unix:uid:4242"]}
    made = admin.post("/entries", json=body)
    assert made.status_code == 201
    entry = made.json()
    assert entry["parent_id"] == f"spiffe://{TRUST_DOMAIN}/gateway"
    changed = admin.put(f"/entries/{entry['entry_id']}", json={**body, "x509_ttl_seconds": 600}).json()
    assert (changed["x509_ttl_seconds"], changed["revision"]) == (600, entry["revision"] + 1)
    assert recorded(gateway, "entry.updated", entry_id=entry["entry_id"])["x509_ttl_seconds"] == 600
    assert admin.delete(f"/entries/{entry['entry_id']}").status_code == 200
    assert admin.delete(f"/entries/{entry['entry_id']}").status_code == 400
    assert entry["entry_id"] not in {each["entry_id"] for each in admin.get("/entries").json()}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"selectors": []}, "would match every workload"),
        ({"selectors": ["unix:uid:root"]}, "unix:uid"),
        ({"selectors": ["unixx:uid:1"]}, "unix"),
        ({"spiffe_id": "spiffe://other.test/a"}, "trust domain"),
        ({"spiffe_id": "nonsense"}, "spiffe://"),
        ({"x509_ttl_seconds": 5}, "out of bounds"),
        ({"dns_names": ["no spaces"]}, "DNS name"),
        ({"unknown": 1}, "Extra inputs"),
    ],
)
def test_an_entry_that_could_not_work_is_refused_with_what_is_needed(admin, change, said):
    body = {"spiffe_id": f"spiffe://{TRUST_DOMAIN}/agent/bad", "selectors": ["unix:uid:1"]} | change
    refused = admin.post("/entries", json=body)
    assert refused.status_code in {400, 422}
    assert said in refused.json()["detail"]


def test_a_revocation_takes_effect_on_the_connection_that_is_open(gateway, admin):
    agent = gateway.register("agent/api-revoked")
    with plain(gateway, agent) as client:
        assert client.get("/v1/models").status_code == 200
        made = admin.post("/revocations", json={"kind": "id", "subject": agent.id, "reason": "a test"})
        assert made.status_code == 201
        eventually("it is refused", lambda: client.get("/v1/models").status_code == 401)
    assert agent.id in {each["subject"] for each in admin.get("/revocations").json()}


def test_who_may_only_look_changes_nothing(gateway, admin):
    viewer = gateway.register("agent/plain-caller")
    with httpx.Client(
        base_url=f"https://localhost:{gateway.admin_port}/v1", verify=viewer.tls(), trust_env=False, timeout=15
    ) as client:
        for answer in (
            client.get("/agents"),
            client.post("/entries", json={"spiffe_id": viewer.id, "selectors": ["unix:uid:0"]}),
            client.post("/revocations", json={"kind": "id", "subject": BOT, "reason": "x"}),
        ):
            assert answer.status_code == 403


def test_the_routes_are_described(admin):
    paths = admin.get(
        "https://localhost" + str(admin.base_url.copy_with(path="/openapi.json")).split("localhost")[1]
    ).json()["paths"]
    assert {"/v1/agents", "/v1/agents/status", "/v1/entries", "/v1/entries/{entry_id}", "/v1/revocations"} <= set(paths)
