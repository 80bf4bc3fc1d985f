"""Who may do what: every registered principal on every model, decided one by one as the gateway decides."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.engine import Decision
from gateway.errors import IdentityRefusedError
from gateway.policyreview.questions import MODEL_ACTIONS, Questions
from gateway.policyreview.standing import refusal
from identity.registry import Agent, RegistrySnapshot


@dataclass(frozen=True, slots=True)
class Access:
    """One answer.

    Attributes:
        principal: who.
        action: what.
        resource: on what: a name, or a pattern in which * stands for any text.
        decision: what the policies say.
        refused: why the gateway refuses the principal before it asks the policies, None if it does not.
    """

    principal: Agent
    action: str
    resource: str
    decision: Decision
    refused: IdentityRefusedError | None = None

    @property
    def allow(self) -> bool:
        """Whether the call would be made: the gateway hears the principal, and the policies allow it."""
        return self.decision.allow and self.refused is None

    @property
    def how(self) -> str:
        """The obligations and remarks of a call that would be made; the reasons why another would not."""
        if not self.allow:
            codes = [self.refused.code] if self.refused else []
            return ", ".join([*codes, *(() if self.decision.allow else self.decision.reasons)])
        return ", ".join([*map(_obligation, self.decision.obligations), *self.decision.reasons])

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "principal": self.principal.id,
            "team": self.principal.team,
            "action": self.action,
            "resource": self.resource,
            "allow": self.allow,
            "refused": None if self.refused is None else self.refused.code,
            "reasons": list(self.decision.reasons),
            "obligations": [dict(each) for each in self.decision.obligations],
        }


class Accesses:
    """Decides for whoever is asked about. Belongs to the thread that made it.

    Args:
        questions: makes the policy inputs.
        agents: the inventory, for who is heard at all.
    """

    def __init__(self, questions: Questions, agents: RegistrySnapshot) -> None:
        self.questions = questions
        self._agents = agents
        self._refusals: dict[str, IdentityRefusedError | None] = {}
        self._engine = EmbeddedEngine(questions.policies)

    def of(self, principal: Agent, action: str, resource: str) -> Access:
        """Return what the policies say to one call."""
        decision = self._engine.decide_now(self.questions.ask(principal, action, resource))
        if principal.id not in self._refusals:
            self._refusals[principal.id] = refusal(principal.id, self._agents, self.questions.now)
        return Access(principal, action, resource, decision, self._refusals[principal.id])

    def who_can(self, principals: Iterable[Agent], action: str, resource: str) -> list[Access]:
        """Return the answer to each of the principals, those who may first."""
        found = [self.of(each, action, resource) for each in principals]
        return sorted(found, key=lambda each: (not each.allow, each.principal.id))

    def what_can(self, principal: Agent) -> list[Access]:
        """Return the answers for every model, and for every other action that a role of the principal names."""
        models = [self.of(principal, action, model) for model in self._models() for action in MODEL_ACTIONS]
        return [*models, *(self._on_pattern(principal, *other) for other in self._others(principal))]

    def matrix(self, principals: Sequence[Agent]) -> Iterator[list[Access]]:
        """Yield the answers for each principal, on each model and action in the order of `columns`."""
        for principal in sorted(principals, key=lambda each: each.id):
            yield [self.of(principal, action, model) for model, action in self.columns()]

    def columns(self) -> list[tuple[str, str]]:
        """Return the columns of the matrix: model and action."""
        return [(model, action) for model in self._models() for action in MODEL_ACTIONS]

    def _models(self) -> list[str]:
        return sorted(model.name for model in self.questions.config.models)

    def _on_pattern(self, principal: Agent, action: str, pattern: str) -> Access:
        """Return the answer for a resource of a pattern, under the name of the pattern."""
        return replace(self.of(principal, action, pattern.replace("*", "any")), resource=pattern)

    def _others(self, principal: Agent) -> list[tuple[str, str]]:
        policies = self.questions.policies
        roles = policies.roles_of(principal.id, principal.team, principal.kind, now=self.questions.now)
        return sorted(
            {
                (action, resource)
                for role in roles
                for permission in policies.tables.roles[role].permissions
                for action in permission.actions
                if action not in MODEL_ACTIONS
                # Listing models needs no name: each model of the list is decided by itself.
                for resource in ([""] if action == "model.list" else permission.resources)
            }
        )


def _obligation(obligation: Mapping[str, Any]) -> str:
    match obligation["type"]:
        case "clamp_max_tokens":
            return f"at most {obligation['max_tokens']} tokens"
        case "route_region":
            return f"in the region {obligation['region']}"
        case "log_content_sealed":
            return "content kept sealed"
        case "require_approval":
            return "approved by two people" if obligation.get("four_eyes") else "approved by a person"
        case "watermark_notice":
            return "answer marked as made by AI"
        case other:
            return str(other)
