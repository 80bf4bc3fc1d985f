"""Loads the configuration file: environment and path references, and errors that name the nearest key."""

import difflib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from gateway.config.model import GatewayConfig
from gateway.config.section import SecretReference
from gateway.config.yaml_file import read_yaml
from gateway.errors import ConfigError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_SINK_SECRETS = ("token", "api_key", "password")
_SECRET_KEYS = frozenset(
    {
        "seal_key",
        "credential",
        "access_key",
        "secret_key",
        "database",
        "token",
        "api_key",
        "password",
        "role_id",
        "secret_id",
        "client_certificate",
        "key",
        "passphrase",
    }
)


_Section = TypeVar("_Section", bound=BaseModel)


def load_config(path: Path, environment: Mapping[str, str] | None = None) -> GatewayConfig:
    """Read, check and resolve the configuration in `path`.

    Relative paths are taken relative to the file. `${NAME}` and `${NAME:-default}` are taken from the
    environment; as the whole value of a secret they become the reference `env:NAME` and are not read here.

    Raises:
        ConfigError: every problem found, one a line, each with its place in the file.
    """
    document = read_yaml(path)
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: the configuration is a mapping of sections, such as 'trust_domain: example.org'.")
    problems: list[str] = []
    expanded = _expand(document, os.environ if environment is None else environment, (), problems)
    if problems:
        raise ConfigError(_report(path, problems))
    try:
        config = GatewayConfig.model_validate(expanded)
    except ValidationError as error:
        raise ConfigError(_report(path, [_problem(item) for item in error.errors(include_url=False)])) from None
    return _resolve(config, path.resolve().parent)


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the configuration file."""
    schema = GatewayConfig.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def show_config(config: GatewayConfig) -> dict[str, Any]:
    """Return the configuration with every default filled in; secrets are references and stay so."""
    shown: dict[str, Any] = json.loads(config.model_dump_json())
    return shown


def _expand(value: Any, environment: Mapping[str, str], at: tuple[str, ...], problems: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: _expand(item, environment, (*at, str(key)), problems) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, environment, (*at, str(index)), problems) for index, item in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value
    if at and at[-1] in _SECRET_KEYS:
        match = _VARIABLE.fullmatch(value)
        if match and match[2] is None:
            return f"env:{match[1]}"
        problems.append(f"{'.'.join(at)}: a secret from the environment is exactly ${{NAME}}, without a default")
        return value

    def replace(match: re.Match[str]) -> str:
        default: str | None = match[2]
        found = environment.get(match[1], default)
        if found is None:
            problems.append(
                f"{'.'.join(at)}: the environment variable {match[1]} is not set; "
                f"set it or write ${{{match[1]}:-default}}"
            )
            return ""
        return found

    return _VARIABLE.sub(replace, value)


def _problem(item: Any) -> str:
    location = tuple(item["loc"])
    place = ".".join(str(part) for part in location) or "(file)"
    if item["type"] == "extra_forbidden":
        known = _keys_at(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys here: {', '.join(known)}"
        return f"{place}: unknown key; {hint}"
    if item["type"] == "missing":
        return f"{place}: this key is required"
    message = str(item["msg"]).removeprefix("Value error, ")
    return f"{place}: {message}"


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that the section at `location` knows."""
    model: type[BaseModel] | None = GatewayConfig
    for part in location:
        if isinstance(part, int):
            continue
        model = _section(model.model_fields[part].annotation) if model and part in model.model_fields else None
    return sorted(model.model_fields) if model else []


def _section(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for argument in get_args(annotation) if (found := _section(argument))), None)


def _report(path: Path, problems: list[str]) -> str:
    return "\n".join([f"{path} has {len(problems)} problem{'s'[: len(problems) != 1]}:", *(f"  {p}" for p in problems)])


def _resolve(config: GatewayConfig, base: Path) -> GatewayConfig:
    """Make every path of the configuration absolute, relative to the directory of the file."""

    def absolute(path: Path) -> Path:
        return (base / path.expanduser()).resolve()

    def reference(value: SecretReference) -> SecretReference:
        return f"file:{absolute(Path(value[5:]))}" if value.startswith("file:") else value

    def located(section: _Section, *keys: str) -> _Section:
        """Return the section with the paths under `keys` absolute, where they are set."""
        return section.model_copy(
            update={key: absolute(value) for key in keys if (value := getattr(section, key)) is not None}
        )

    attestation = config.identity.attestation
    attestation = attestation.model_copy(
        update={
            "x509pop": attestation.x509pop
            and attestation.x509pop.model_copy(update={"ca_files": list(map(absolute, attestation.x509pop.ca_files))}),
            "kubernetes": [located(each, "ca_file", "token_file") for each in attestation.kubernetes],
            "oidc": [located(each, "ca_file") for each in attestation.oidc],
        }
    )
    identity = config.identity.model_copy(
        update={
            "seal_key": reference(config.identity.seal_key),
            "federated": [located(each, "file", "ca_file") for each in config.identity.federated],
            "endpoint": located(config.identity.endpoint, "cert_file", "key_file"),
            "attestation": attestation,
            "delegation": config.identity.delegation.model_copy(
                update={"persons": [located(each, "ca_file") for each in config.identity.delegation.persons]}
            ),
            "authority": located(config.identity.authority, "upstream_cert_file", "upstream_key_file"),
            "workload_api": located(config.identity.workload_api, "socket"),
            "spire": located(config.identity.spire, "socket"),
        }
    )
    backends = [
        located(backend, "ca_file", "client_cert_file", "client_key_file").model_copy(
            update={
                "credential": reference(backend.credential),
                "client_certificate": reference(backend.client_certificate),
            }
        )
        for backend in config.backends
    ]
    vault = located(config.secrets.vault, "ca_file")
    if vault.login is not None:
        shown = {key: reference(getattr(vault.login, key)) for key in ("role_id", "secret_id", "token")}
        vault = vault.model_copy(update={"login": located(vault.login, "token_file").model_copy(update=shown)})
    sealing, copies = config.audit.sealing, config.audit.copies
    audit = config.audit.model_copy(
        update={
            "database": reference(config.audit.database),
            "witnesses": located(config.audit.witnesses, "policy_file", "ca_file"),
            "timestamps": located(config.audit.timestamps, "roots_file", "ca_file"),
            "copies": located(copies, "ca_file").model_copy(
                update={"access_key": reference(copies.access_key), "secret_key": reference(copies.secret_key)}
            ),
            "sinks": [
                sink.model_copy(
                    update={
                        **{key: reference(getattr(sink, key)) for key in _SINK_SECRETS if hasattr(sink, key)},
                        "tls": sink.tls and located(sink.tls, "ca_file", "client_cert_file", "client_key_file"),
                    }
                )
                for sink in config.audit.sinks
            ],
            "sealing": sealing.model_copy(update={"seal_key": reference(sealing.seal_key)}),
        }
    )
    if audit.directory is not None:
        audit = audit.model_copy(update={"directory": absolute(audit.directory)})
    source = config.policy.bundle
    store = source.s3
    s3 = store.model_copy(update={"access_key": reference(store.access_key), "secret_key": reference(store.secret_key)})
    url = source.url if not source.url or "://" in source.url else f"file://{absolute(Path(source.url))}"
    policy = located(config.policy, "directory").model_copy(
        update={
            "keys": [located(key, "file") for key in config.policy.keys],
            "opa": located(config.policy.opa, "executable", "ca_file", "client_cert_file", "client_key_file"),
            "bundle": located(source, "ca_file").model_copy(
                update={"url": url, "credential": reference(source.credential), "s3": s3}
            ),
        }
    )
    return config.model_copy(
        update={
            "state_dir": absolute(config.state_dir),
            "identity": identity,
            "backends": backends,
            "audit": audit,
            "policy": policy,
            "secrets": config.secrets.model_copy(
                update={
                    "vault": vault,
                    "exchanges": [located(each, "ca_file") for each in config.secrets.exchanges],
                    "sealed_file": located(config.secrets.sealed_file, "path").model_copy(
                        update={
                            "key": reference(config.secrets.sealed_file.key),
                            "passphrase": reference(config.secrets.sealed_file.passphrase),
                        }
                    ),
                }
            ),
            "compliance": located(config.compliance, "attestations").model_copy(
                update={"catalogue": list(map(absolute, config.compliance.catalogue))}
            ),
        }
    )
