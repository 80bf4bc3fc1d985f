"""Who may do what: every registered principal on every model, decided one by one as the gateway decides."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.engine import Decision
from gateway.policyreview.questions import MODEL_ACTIONS, Questions
from identity.registry import Agent


@dataclass(frozen=True, slots=True)
class Access:
    """One answer.

    Attributes:
        principal: who.
        action: what.
        resource: on what: a name, or a pattern in which * stands for any text.
        decision: what the policies say.
    """

    principal: Agent
    action: str
    resource: str
    decision: Decision

    @property
    def bound(self) -> int | None:
        """The bound on output tokens, None without one."""
        return min(
            (int(each["max_tokens"]) for each in self.decision.obligations if "max_tokens" in each), default=None
        )

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "principal": self.principal.id,
            "team": self.principal.team,
            "action": self.action,
            "resource": self.resource,
            "allow": self.decision.allow,
            "reasons": list(self.decision.reasons),
            "obligations": [dict(each) for each in self.decision.obligations],
        }


class Accesses:
    """Decides for whoever is asked about. Belongs to the thread that made it."""

    def __init__(self, questions: Questions) -> None:
        self.questions = questions
        self._engine = EmbeddedEngine(questions.policies)

    def of(self, principal: Agent, action: str, resource: str) -> Access:
        """Return what the policies say to one call."""
        decision = self._engine.decide_now(self.questions.ask(principal, action, resource))
        return Access(principal, action, resource, decision)

    def who_can(self, principals: Iterable[Agent], action: str, resource: str) -> list[Access]:
        """Return the answer to each of the principals, those who may first."""
        found = [self.of(each, action, resource) for each in principals]
        return sorted(found, key=lambda each: (not each.decision.allow, each.principal.id))

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
                if not action.startswith("model.")
                for resource in permission.resources
            }
        )
