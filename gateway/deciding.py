"""One decision on a call: of the caller alone, or of every link of the chain that it acts for."""

from collections.abc import Sequence
from typing import Any

from gateway.authorization.delegated import intersection
from gateway.authorization.engine import Decision
from gateway.authorization.input import model_input
from gateway.authorization.shadow import Shadow
from gateway.exchange import Exchange
from gateway.protocols.base import Call
from gateway.runtime import Runtime
from identity.registry import Agent


async def decide(
    exchange: Exchange, runtime: Runtime, call: Call, now: int, shadow: Shadow | None
) -> tuple[Decision, list[dict[str, Any]]]:
    """Return the decision on a call of this exchange, and the policy input of each link, the caller's first.

    Args:
        exchange: who asks.
        runtime: the policies in force.
        call: what is asked; may be another call than the exchange's own.
        now: UNIX time in seconds, for grants that end.
        shadow: a candidate revision that decides beside.
    """
    agent = exchange.agent
    assert agent is not None  # noqa: S101 - set by the pipeline's first step
    inputs = [input_for(agent, exchange.delegation, runtime, call, now)]
    if not exchange.delegators:
        decision = await runtime.engine.decide(inputs[0])
    else:
        inputs += [
            input_for(each, exchange.delegation[:place], runtime, call, now)
            for place, each in enumerate(exchange.delegators)
        ]
        decision = intersection([await runtime.engine.decide(each) for each in inputs])
    if shadow is not None:
        shadow.offer(inputs, decision)
    return decision, inputs


def input_for(agent: Agent, delegation: Sequence[str], runtime: Runtime, call: Call, now: int) -> dict[str, Any]:
    """Return what the policies are asked about a call of one link of a chain; `now`: UNIX time in seconds."""
    model = runtime.models.get(call.resource_id)
    policies = runtime.policies
    return model_input(
        agent,
        policies.roles_of(agent.id, agent.team, agent.kind, now=now),
        call,
        policies.system(model.system) if model else None,
        runtime.regions.get(call.resource_id, ""),
        runtime.config.context.region,
        runtime.config.context.environment,
        delegation,
        policies.break_glass_of(agent.id, agent.team, agent.kind, now=now),
        runtime.credentials.get(call.resource_id, ()),
    )
