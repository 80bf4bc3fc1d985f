"""What govctl may ask of the running gateway over its control socket."""

from collections.abc import Callable, Mapping
from typing import Any

from gateway.admin.oversight import OversightDesk
from gateway.errors import ConfigError
from gateway.generations import Generations
from gateway.local_control import Operation
from gateway.policy_activation.shadowing import Shadowing


def operator_requests(
    generations: Generations,
    shadowing: Shadowing,
    status: Callable[[], dict[str, Any]],
    desk: OversightDesk,
    secrets: Callable[[], list[dict[str, Any]]],
) -> dict[str, Operation]:
    """Return the operations by name. Whoever runs the gateway may do all of them; each change is recorded."""
    policies = generations.policies

    async def reload(by: str, _request: Mapping[str, Any], _content: bytes) -> Any:
        return (await generations.reload(by)).model_dump()

    async def show_status(_by: str, _request: Mapping[str, Any], _content: bytes) -> Any:
        return status()

    async def show_secrets(_by: str, _request: Mapping[str, Any], _content: bytes) -> Any:
        return secrets()

    async def show_policy(_by: str, _request: Mapping[str, Any], _content: bytes) -> Any:
        return policies.active.activation.model_dump(mode="json")

    async def activate(by: str, request: Mapping[str, Any], content: bytes) -> Any:
        rollback, reason = request.get("rollback") is True, _text(request, "reason")
        source = _text(request, "source")
        done = await generations.activate(content, source, by, rollback=rollback, reason=reason)
        return done.model_dump(mode="json")

    async def roll_back(by: str, request: Mapping[str, Any], _content: bytes) -> Any:
        done = await generations.rollback(_text(request, "to"), by, _text(request, "reason"))
        return done.model_dump(mode="json")

    async def start_shadow(by: str, request: Mapping[str, Any], content: bytes) -> Any:
        return await shadowing.start(content, _text(request, "source"), by)

    async def show_shadow(_by: str, _request: Mapping[str, Any], _content: bytes) -> Any:
        return shadowing.report()

    async def stop_shadow(by: str, _request: Mapping[str, Any], _content: bytes) -> Any:
        return await shadowing.stop(by)

    async def promote(by: str, _request: Mapping[str, Any], _content: bytes) -> Any:
        return (await shadowing.promote(by)).model_dump(mode="json")

    async def drill(by: str, request: Mapping[str, Any], _content: bytes) -> Any:
        return await desk.drill(_text(request, "system"), by, _text(request, "reason"))

    return {
        "reload": reload,
        "status": show_status,
        "secrets": show_secrets,
        "policy": show_policy,
        "policy.activate": activate,
        "policy.rollback": roll_back,
        "policy.shadow.start": start_shadow,
        "policy.shadow.show": show_shadow,
        "policy.shadow.stop": stop_shadow,
        "policy.shadow.promote": promote,
        "oversight.drill": drill,
    }


def _text(request: Mapping[str, Any], name: str) -> str:
    value = request.get(name, "")
    if not isinstance(value, str):
        raise ConfigError(f"{name} is not text.")
    return value
