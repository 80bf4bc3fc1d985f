"""Who asks for what: a policy input made as the gateway makes it, for a call that nobody has made yet."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.authorization.input import Principal, admin_input, model_input
from gateway.authorization.policy_set import LoadedPolicySet
from gateway.config import GatewayConfig
from gateway.protocols.base import Call
from gateway.runtime import model_credentials, model_regions

MODEL_ACTIONS = ("model.infer", "model.embed")


@dataclass(frozen=True, slots=True)
class _Nobody:
    """A principal for inputs of which only the resource is wanted."""

    id: str = ""
    kind: str = ""
    team: str = ""
    owner: str = ""
    status: str = ""
    risk_tier: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Questions:
    """Makes policy inputs.

    Attributes:
        config: the configuration, for models, regions and environment.
        policies: the policies, for roles and systems.
        now: the moment that roles are looked up for (UNIX seconds).
    """

    config: GatewayConfig
    policies: LoadedPolicySet
    now: int

    def ask(self, principal: Principal, action: str, resource: str) -> dict[str, Any]:
        """Return the policy input of `principal` doing `action` on `resource`.

        Args:
            principal: who, as registered.
            action: an action of the policy contract.
            resource: name of a model for `model.…`, else the path of a route of the control plane.
        """
        who = (principal.id, principal.team, principal.kind)
        roles = self.policies.roles_of(*who, now=self.now)
        broken = self.policies.break_glass_of(*who, now=self.now)
        context = self.config.context
        if not action.startswith("model."):
            return admin_input(principal, roles, action, resource, context.region, context.environment, broken)
        model = next((each for each in self.config.models if each.name == resource), None)
        return model_input(
            principal,
            roles,
            Call("openai", "", action, "model", resource, ""),
            self.policies.system(model.system) if model else None,
            model_regions(self.config).get(resource, ""),
            context.region,
            context.environment,
            (),
            broken,
            model_credentials(self.config).get(resource, ()),
        )

    def resources(self, action: str) -> list[dict[str, Any]]:
        """Return what an action could be about, as resources of a policy input: every model for `model.infer` and
        `model.embed`, nothing for another action.
        """
        if action not in MODEL_ACTIONS:
            return []
        return [self.ask(_Nobody(), action, model.name)["resource"] for model in self.config.models]
