"""Takes people out of recorded inputs, and keeps only those that are decided as before."""

import hmac
from collections.abc import Iterable, Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Any

import orjson

from gateway.authorization.delegated import intersection
from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.engine import Decision
from gateway.authorization.policy_set import LoadedPolicySet
from gateway.policyreview.recorded import RecordedCall, chain_of


class Pseudonyms:
    """Replaces names by keyed digests: the same name by the same digest, as long as the key is the same.

    A SPIFFE ID that the policies bind roles to, or match a limit by, is kept: who reads the policies knows it, and
    the call could not be replayed without it. Owners are replaced and attributes dropped.

    Args:
        policies: the policies that the samples are kept with.
        key: secret; forget it, and nobody can tell who is who.

    Attributes:
        left_out: calls that these policies decide otherwise once the names are gone.
    """

    def __init__(self, policies: LoadedPolicySet, key: bytes) -> None:
        self.left_out = 0
        self._engine = EmbeddedEngine(policies)
        self._key = key
        named = {str(limit.get("match", {}).get("id", "")) for limit in policies.limits()}
        self._kept = {*policies.tables.bindings, *named}

    def applied(self, calls: Iterable[RecordedCall]) -> Iterator[RecordedCall]:
        """Yield the calls with names replaced; those that would be decided otherwise are left out and counted."""
        for call in calls:
            inputs = orjson.loads(call.chain)
            replaced = [self._replaced(each) for each in inputs]
            if self._decide(inputs) == self._decide(replaced):
                yield replace(call, chain=chain_of(replaced))
            else:
                self.left_out += call.count

    def _replaced(self, policy_input: dict[str, Any]) -> dict[str, Any]:
        principal = dict(policy_input["principal"])
        principal["id"] = self._id(principal["id"])
        if "owner" in principal:
            principal["owner"] = self._pseudonym(str(principal["owner"]))
        if "attributes" in principal:
            principal["attributes"] = {}
        if isinstance(principal.get("delegation"), list):
            principal["delegation"] = [self._id(str(each)) for each in principal["delegation"]]
        return {**policy_input, "principal": principal}

    def _id(self, name: str) -> str:
        if name in self._kept:
            return name
        domain = name.removeprefix("spiffe://").partition("/")[0]
        return f"spiffe://{domain}/pseudonym/{self._pseudonym(name)}"

    def _pseudonym(self, name: str) -> str:
        return hmac.new(self._key, name.encode(), sha256).hexdigest()[:20]

    def _decide(self, inputs: list[dict[str, Any]]) -> Decision:
        return intersection([self._engine.decide_now(each) for each in inputs])
