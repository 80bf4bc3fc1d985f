"""Projected service-account tokens, reviewed by a stand-in for a Kubernetes API server: it is none.

The stand-in answers TokenReviews as the API's reference describes them, over real HTTPS, and asks for the gateway's own
token. What a real API server does beyond that is not shown here.
"""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from identity.attestation.base import AttestationError, AttestationUnavailableError
from identity.attestation.k8s_psat import Cluster, K8sPsatAttestor
from identity.fetching import FetchError
from identity.selectors import check_selector
from tests.support.https_server import Answer, Request, serving
from tests.unit.identity.attestation.conftest import TD

OWN_TOKEN, POD_TOKEN, AUDIENCE = "gateway-own", "pod-token", "govgateway"
EXTRA = {
    "authentication.kubernetes.io/pod-name": ["agent-abc"],
    "authentication.kubernetes.io/pod-uid": ["0b1c2d3e-1111-2222-3333-444455556666"],
    "authentication.kubernetes.io/node-name": ["worker-1"],
    "authentication.kubernetes.io/node-uid": ["9f8e7d6c-1111-2222-3333-444455556666"],
}


@dataclass
class StandInApiServer:
    """Stands in for a Kubernetes API server: knows one pod's token and the audience it was projected for."""

    audience: str = AUDIENCE
    username: str = "system:serviceaccount:agents:runner"
    extra: dict[str, Any] = field(default_factory=lambda: dict(EXTRA))
    status: dict[str, Any] = field(default_factory=dict)
    answer: Answer | None = None

    def __call__(self, request: Request) -> Answer:
        if self.answer is not None:
            return self.answer
        if request.headers.get("authorization") != f"Bearer {OWN_TOKEN}":
            return Answer(b'{"kind": "Status"}', 401)
        assert (request.method, request.path) == ("POST", "/apis/authentication.k8s.io/v1/tokenreviews")
        spec = json.loads(request.body)["spec"]
        if spec["token"] != POD_TOKEN or self.audience not in spec["audiences"]:
            return self.review({"error": "[invalid bearer token, token audiences is invalid]", "user": {}})
        user = {"username": self.username, "uid": "u-1", "groups": ["system:serviceaccounts"], "extra": self.extra}
        return self.review({"authenticated": True, "audiences": [self.audience], "user": user, **self.status})

    @staticmethod
    def review(status: dict[str, Any]) -> Answer:
        document = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": status}
        return Answer(json.dumps(document).encode(), 201)


@pytest.fixture
def stand_in():
    return StandInApiServer()


@pytest.fixture
async def server(web, tmp_path, stand_in):
    async with serving(web.leaf, tmp_path, stand_in) as running:
        yield running


@pytest.fixture
def cluster(server, web, tmp_path):
    own = tmp_path / "own-token"
    own.write_text(OWN_TOKEN + "\n")
    return Cluster("prod", server.url, web.ca_file, own, AUDIENCE, frozenset({"agents:runner"}), timeout_seconds=1)


@pytest.fixture
def attestor(cluster):
    return K8sPsatAttestor(TD, [cluster])


async def refusal(attestor, silent, token=POD_TOKEN, cluster="prod"):
    with pytest.raises(AttestationError) as caught:
        await attestor.attest({"cluster": cluster, "token": token}, silent)
    return caught.value.rule


async def test_a_pod_gets_its_selectors(attestor, silent):
    attested = await attestor.attest({"cluster": "prod", "token": POD_TOKEN}, silent)
    assert attested.spiffe_id == f"spiffe://{TD}/node/k8s_psat/prod/0b1c2d3e-1111-2222-3333-444455556666"
    assert attested.can_reattest
    assert attested.selectors == {
        "k8s_psat:cluster:prod",
        "k8s_psat:agent_ns:agents",
        "k8s_psat:agent_sa:runner",
        "k8s_psat:agent_audience:govgateway",
        "k8s_psat:agent_pod_name:agent-abc",
        "k8s_psat:agent_pod_uid:0b1c2d3e-1111-2222-3333-444455556666",
        "k8s_psat:agent_node_name:worker-1",
        "k8s_psat:agent_node_uid:9f8e7d6c-1111-2222-3333-444455556666",
    }
    assert all(check_selector(selector) for selector in attested.selectors)


async def test_the_gateways_own_token_is_read_anew_each_time(attestor, silent, cluster):
    cluster.token_file.write_text("expired")
    assert await refusal(attestor, silent) == "k8s-unavailable"
    cluster.token_file.write_text(OWN_TOKEN)
    assert await attestor.attest({"cluster": "prod", "token": POD_TOKEN}, silent)
    cluster.token_file.unlink()
    assert await refusal(attestor, silent) == "k8s-unavailable"


async def test_a_token_that_the_api_server_does_not_know_is_refused(attestor, silent):
    assert await refusal(attestor, silent, token="other") == "k8s-not-authenticated"


@pytest.mark.parametrize("authenticated", [False, None, "true", 1])
async def test_anything_but_authenticated_true_is_refused(attestor, silent, stand_in, authenticated):
    stand_in.status = {"authenticated": authenticated}
    assert await refusal(attestor, silent) == "k8s-not-authenticated"


async def test_an_error_beside_authenticated_is_refused(attestor, silent, stand_in):
    stand_in.status = {"error": "no"}
    assert await refusal(attestor, silent) == "k8s-not-authenticated"


async def test_a_token_for_another_audience_is_refused(attestor, silent, stand_in):
    stand_in.audience = "https://kubernetes.default.svc"
    assert await refusal(attestor, silent) == "k8s-not-authenticated"


@pytest.mark.parametrize("audiences", [None, [], ["https://kubernetes.default.svc"], AUDIENCE])
async def test_a_review_that_does_not_confirm_our_audience_is_refused(attestor, silent, stand_in, audiences):
    stand_in.status = {"audiences": audiences}
    assert await refusal(attestor, silent) == "k8s-audience"


@pytest.mark.parametrize(
    "username",
    [
        "system:serviceaccount:agents:other",
        "system:serviceaccount:other:runner",
        "system:serviceaccount:agents:runner:x",
        "system:serviceaccount::agents:runner",
        "system:node:worker-1",
        "admin",
        "",
        None,
    ],
)
async def test_only_the_configured_service_accounts_attest(attestor, silent, stand_in, username):
    stand_in.username = username
    assert await refusal(attestor, silent) == "k8s-service-account"


@pytest.mark.parametrize("value", [None, [], ["a", "b"], "text", [7], [" x"]])
async def test_a_token_that_is_bound_to_no_pod_is_refused(attestor, silent, stand_in, value):
    stand_in.extra["authentication.kubernetes.io/pod-uid"] = value
    assert await refusal(attestor, silent) == "k8s-pod"


async def test_a_cluster_that_does_not_tell_the_node_gives_no_selector_of_it(attestor, silent, stand_in):
    del stand_in.extra["authentication.kubernetes.io/node-name"]
    attested = await attestor.attest({"cluster": "prod", "token": POD_TOKEN}, silent)
    assert not any(s.startswith("k8s_psat:agent_node_name") for s in attested.selectors)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=302, headers={"location": "https://127.0.0.1/"}),
        Answer(b"{}", 500),
        Answer(b"[]", 201),
        Answer(b'{"kind": "Status", "status": {"authenticated": true}}', 201),
        Answer(b'{"kind": "TokenReview", "status": 7}', 201),
        Answer(b"x" * (2 << 20), 201),
        Answer(b"{}", 201, pause=5),
    ],
    ids=["redirect", "failure", "list", "no-review", "no-status", "oversized", "slow"],
)
async def test_an_api_server_that_gives_no_review_lets_nobody_in(attestor, silent, stand_in, answer):
    stand_in.answer = answer
    with pytest.raises(AttestationUnavailableError) as caught:
        await attestor.attest({"cluster": "prod", "token": POD_TOKEN}, silent)
    assert OWN_TOKEN not in str(caught.value)
    assert POD_TOKEN not in str(caught.value)


async def test_a_cluster_that_is_not_configured_is_never_asked(attestor, silent, server):
    assert await refusal(attestor, silent, cluster="https://evil.test") == "k8s-cluster-unknown"
    assert server.requests == []


def test_a_cluster_needs_https_and_an_audience(cluster):
    with pytest.raises(ValueError, match="audience"):
        Cluster("prod", cluster.api_url, cluster.ca_file, cluster.token_file, "", frozenset())
    plain = Cluster("prod", "http://127.0.0.1", cluster.ca_file, cluster.token_file, "x", frozenset())
    with pytest.raises(FetchError):
        K8sPsatAttestor(TD, [plain])
