"""govctl init: a trust domain, a configuration, the starter policies and a key to seal them, in one directory."""

import shutil
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import httpx
import typer
import yaml

from audit.log import append_once
from gateway.app import authority_settings, open_audit_store
from gateway.cli.acting import operator
from gateway.cli.output import fail, say
from gateway.clock import system_clock
from gateway.config import load_config
from gateway.starter import allow_models, register_models, starter_policies
from identity.authority import authority_dir, create_trust_domain
from identity.keys import SealedKeyManager
from identity.sealing import generate_seal_key, write_private

_TEMPLATE = """\
# Configuration of the gateway. Every key, its default and its unit: govctl config schema, docs/configuration.md.
trust_domain: {trust_domain}

listener:
  address: 127.0.0.1
  port: {port}

identity:
  # Seals the authority's keys. Move the file to where only the gateway can read it, or use ${{NAME}}.
  seal_key: file:seal.key

policy:
  directory: policies

backends:
  - name: default
    url: {backend}
{usage}
models:
{models}"""


def init(
    trust_domain: Annotated[str, typer.Option(help="SPIFFE trust domain, for instance example.org.")],
    backend: Annotated[str, typer.Option(help="Base URL of an OpenAI-compatible server, with /v1.")],
    model: Annotated[
        list[str] | None,
        typer.Option(help="Model, or MODEL=SYSTEM of the register. Repeatable; default: ask the server."),
    ] = None,
    directory: Annotated[Path, typer.Option("--dir", help="Directory to set up.")] = Path(),
    port: Annotated[int, typer.Option(help="TCP port of the data plane.")] = 8443,
) -> None:
    """Set up a gateway: trust domain, configuration, starter policies, sealing key."""
    config_file, policies, seal_key = (directory / name for name in ("govgateway.yaml", "policies", "seal.key"))
    for path in (config_file, policies, seal_key, directory / "state"):
        if path.exists():
            fail(f"{path} exists already; 'govctl init' never overwrites. Use --dir for another directory.")
    backend = backend.rstrip("/")
    models = [_Model(*name.partition("=")[::2]) for name in model] if model else _models_of(backend)
    vllm = any(entry.vllm for entry in models)
    directory.mkdir(parents=True, exist_ok=True)
    config_file.write_text(
        _TEMPLATE.format(
            trust_domain=trust_domain,
            backend=backend,
            port=port,
            usage="    continuous_usage: true\n" if vllm else "",
            models=yaml.safe_dump([entry.document() for entry in models], sort_keys=False),
        )
    )
    shutil.copytree(starter_policies(), policies)
    allow_models(policies, [entry.name for entry in models])
    register_models(policies, [(entry.name, entry.system or "assistant") for entry in models])
    key = generate_seal_key()
    write_private(seal_key, b64encode(key) + b"\n")
    try:
        config = load_config(config_file)
    except Exception:
        shutil.rmtree(policies)
        config_file.unlink()
        seal_key.unlink()
        raise
    keys = SealedKeyManager(authority_dir(config.state_dir), key)
    bundle = create_trust_domain(config.state_dir, config.trust_domain, keys, system_clock, authority_settings(config))
    append_once(
        open_audit_store(config),
        "govctl",
        "trust_domain.created",
        {"principal": operator(), "trust_domain": config.trust_domain, "authorities": len(bundle.authorities)},
        system_clock,
    )
    say(f"Trust domain {config.trust_domain}: root and signing authority made, keys sealed in {config.state_dir}.")
    say(f"Configuration: {config_file}; models: {', '.join(entry.name for entry in models)}.")
    say(f"Policies: {policies} (team 'research' may call these models).")
    say(f"Sealing key: {seal_key}. Whoever has it and {config.state_dir} can issue identities: keep a copy apart.")
    say("")
    say("Next: govctl up, and in another terminal: govctl agent register, govctl agent issue.")


@dataclass(frozen=True, slots=True)
class _Model:
    """A model to write into the configuration; `context` is 0 where the server does not say."""

    name: str
    system: str = ""
    context: int = 0
    vllm: bool = False

    def document(self) -> dict[str, object]:
        document: dict[str, object] = {
            "name": self.name,
            "system": self.system or "assistant",
            "backends": ["default"],
        }
        if self.context:
            # A caller that names no bound gets at most half of the context, so that its prompt fits beside it.
            document |= {"max_output_tokens": min(4096, max(self.context // 2, 1)), "context_tokens": self.context}
        return document


def _models_of(backend: str) -> list[_Model]:
    """Ask the server for its models. vLLM also says how long their context is."""
    remedy = "Start the server, correct --backend, or name the models with --model."
    try:
        answer = httpx.get(f"{backend}/models", timeout=10, follow_redirects=False, trust_env=False)
        answer.raise_for_status()
        models = [
            _Model(str(entry["id"]), context=int(entry.get("max_model_len") or 0), vllm=entry.get("owned_by") == "vllm")
            for entry in answer.json()["data"]
        ]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        fail(f"{backend}/models does not list models ({error}). {remedy}")
    if not models:
        fail(f"{backend} lists no models. {remedy}")
    return models
