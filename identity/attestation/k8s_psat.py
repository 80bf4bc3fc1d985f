"""Attests a node by the projected service-account token of its Kubernetes pod, which the API server is asked about.

Rules: Kubernetes authentication.k8s.io/v1 TokenReview. The API server must say that the token is authentic, and for
one of our audiences; a token for anything else in the cluster is no proof here.
"""

import asyncio
import json
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from identity.attestation.base import (
    AttestationError,
    AttestationUnavailableError,
    Attested,
    Challenge,
    node_id,
    selector_value,
    text_member,
)
from identity.fetching import FetchError, fetch, https_url, tls_context
from identity.strict_json import parse_object

MAX_TOKEN_CHARACTERS = 16_384

_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
_EXTRA = "authentication.kubernetes.io/"
_EXTRA_SELECTORS = {
    "pod-name": "agent_pod_name",
    "pod-uid": "agent_pod_uid",
    "node-name": "agent_node_name",
    "node-uid": "agent_node_uid",
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Kubernetes cluster whose pods may attest.

    Attributes:
        name: as in selectors (`k8s_psat:cluster:<name>`) and in the `cluster` of a payload.
        api_url: of its API server, https, for instance `https://kubernetes.default.svc`.
        ca_file: PEM file of the authorities of the API server.
        token_file: the gateway's own token, which may create TokenReviews; read anew each time, as it rotates.
        audience: that the tokens must be for.
        service_accounts: `namespace:name` of those that may attest.
        timeout_seconds: for one review.
    """

    name: str
    api_url: str
    ca_file: Path
    token_file: Path
    audience: str
    service_accounts: frozenset[str]
    timeout_seconds: float = 5.0

    def __post_init__(self) -> None:
        if not self.audience:
            raise ValueError(
                f"the cluster {self.name!r} needs an audience: without, every token of it would be a proof"
            )


class K8sPsatAttestor:
    """Takes `{"cluster": …, "token": …}`."""

    name = "k8s_psat"

    def __init__(self, trust_domain: str, clusters: Sequence[Cluster]) -> None:
        """Make one.

        Raises:
            FetchError: an address or a CA file cannot be used.
        """
        self._trust_domain = trust_domain
        self._clusters = {cluster.name: cluster for cluster in clusters}
        self._tls: dict[str, ssl.SSLContext] = {}
        for cluster in clusters:
            https_url(cluster.api_url)
            self._tls[cluster.name] = tls_context(cluster.ca_file)

    async def attest(self, payload: Mapping[str, Any], challenge: Challenge) -> Attested:  # noqa: ARG002 - the seam
        """See `NodeAttestor.attest`."""
        token = text_member(payload, "token", MAX_TOKEN_CHARACTERS)
        cluster = self._clusters.get(text_member(payload, "cluster", 253))
        if cluster is None:
            raise AttestationError("k8s-cluster-unknown", "the payload names a cluster that is not configured here")
        user = _user(await self._review(cluster, token), cluster)
        namespace, account = _service_account(user)
        if f"{namespace}:{account}" not in cluster.service_accounts:
            raise AttestationError(
                "k8s-service-account", f"the service account {namespace}:{account} is not among those that may attest"
            )
        found = {
            "cluster": cluster.name,
            "agent_ns": namespace,
            "agent_sa": account,
            "agent_audience": cluster.audience,
            **_extra(user),
        }
        if "agent_pod_uid" not in found:
            raise AttestationError("k8s-pod", "the token is not bound to a pod; project one (serviceAccountToken)")
        return Attested(
            node_id(self._trust_domain, self.name, cluster.name, found["agent_pod_uid"]),
            frozenset(f"k8s_psat:{key}:{value}" for key, value in found.items()),
            True,
        )

    async def _review(self, cluster: Cluster, token: str) -> dict[str, Any]:
        try:
            own = (await asyncio.to_thread(cluster.token_file.read_text, "ascii")).strip()
            answer = await fetch(
                cluster.api_url.rstrip("/") + _REVIEWS,
                self._tls[cluster.name],
                method="POST",
                headers={"authorization": f"Bearer {own}", "content-type": "application/json"},
                content=json.dumps(
                    {
                        "apiVersion": "authentication.k8s.io/v1",
                        "kind": "TokenReview",
                        "spec": {"token": token, "audiences": [cluster.audience]},
                    }
                ).encode(),
                statuses=frozenset({200, 201}),
                timeout_seconds=cluster.timeout_seconds,
            )
            review = parse_object(answer)
        except (OSError, ValueError, FetchError) as error:
            raise AttestationUnavailableError(
                "k8s-unavailable", f"the API server of {cluster.name} cannot be asked about the token; try again later"
            ) from error
        status = review.get("status")
        if review.get("kind") != "TokenReview" or not isinstance(status, dict):
            raise AttestationUnavailableError("k8s-unavailable", f"{cluster.name} answered with no TokenReview")
        return status


def _user(status: dict[str, Any], cluster: Cluster) -> dict[str, Any]:
    if status.get("authenticated") is not True or status.get("error"):
        raise AttestationError("k8s-not-authenticated", f"{cluster.name} does not know the token, or it has expired")
    audiences = status.get("audiences")
    if not isinstance(audiences, list) or cluster.audience not in audiences:
        raise AttestationError(
            "k8s-audience", f"the token is not for the audience {cluster.audience!r}; project one that is"
        )
    user = status.get("user")
    if not isinstance(user, dict):
        raise AttestationError("k8s-not-authenticated", f"{cluster.name} did not say whose token it is")
    return user


def _service_account(user: dict[str, Any]) -> tuple[str, str]:
    name = user.get("username")
    parts = name.split(":") if isinstance(name, str) else []
    if len(parts) != 4 or parts[:2] != ["system", "serviceaccount"] or not all(map(selector_value, parts)):
        raise AttestationError("k8s-service-account", "the token is not one of a service account")
    return parts[2], parts[3]


def _extra(user: dict[str, Any]) -> dict[str, str]:
    extra = user.get("extra")
    found: dict[str, str] = {}
    for name, key in _EXTRA_SELECTORS.items():
        values = extra.get(_EXTRA + name) if isinstance(extra, dict) else None
        value = values[0] if isinstance(values, list) and len(values) == 1 else None
        if isinstance(value, str) and selector_value(value):
            found[key] = value
    return found
