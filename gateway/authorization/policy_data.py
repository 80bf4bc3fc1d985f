"""The policy tables that the gateway itself reads, checked one by one and against each other."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from gateway.authorization.policy_data_ai_act import AiAct
from gateway.authorization.policy_data_base import Code, Name, Text
from gateway.authorization.policy_data_checks import problems_between
from gateway.authorization.policy_data_limits import Explanation, Limits
from gateway.authorization.policy_data_roles import Binding, Role, Separation, Subject
from gateway.authorization.policy_data_secrets import Secrets
from gateway.authorization.policy_data_systems import ModelBounds, Regions, RegisteredSystem
from gateway.errors import ConfigError


class PolicyData(BaseModel):
    """The tables under `data.govgateway`. Tables beyond these belong to the rules and are not checked."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    roles: dict[Name, Role] = {}
    bindings: dict[Subject, list[Binding]] = {}
    separation: Separation = Separation()
    systems: dict[Name, RegisteredSystem] = {}
    models: dict[Text, ModelBounds] = {}
    regions: Regions = Regions()
    ai_act: AiAct = AiAct()
    secrets: Secrets = Secrets()
    reasons: dict[Code, Explanation] = {}
    limits: Limits = Limits()


def check_policy_data(directory: Path, data: Mapping[str, Any]) -> PolicyData:
    """Return the checked tables.

    Raises:
        ConfigError: every problem found, one a line, each with its file and key.
    """
    try:
        tables = TypeAdapter(PolicyData).validate_python(data.get("govgateway", {}))
    except ValidationError as error:
        raise ConfigError("\n".join(_problem(directory, item) for item in error.errors(include_url=False))) from None
    problems = list(problems_between(tables))
    if problems:
        raise ConfigError("\n".join(f"{_file(directory, table)}: {place}: {text}" for table, place, text in problems))
    return tables


def _problem(directory: Path, item: Any) -> str:
    location = [str(part) for part in item["loc"] if part != "[key]"]
    if location[:1] == ["bindings"]:
        del location[3:4]  # the name of the form (role or grant), which nobody wrote
    table, place = (location[0], ".".join(location[1:])) if location else ("", "")
    if item["type"] == "extra_forbidden":
        text = "unknown key"
    elif item["type"] == "missing":
        text = "this key is required"
    else:
        text = str(item["msg"]).removeprefix("Value error, ")
    return f"{_file(directory, table)}: {place + ': ' if place else ''}{text}"


def _file(directory: Path, table: str) -> Path:
    return directory / "govgateway" / table / "data.yaml"
