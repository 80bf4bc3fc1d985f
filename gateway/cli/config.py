"""govctl config: check, show and describe the configuration."""

import typer
import yaml

from gateway.app import build_runtime, configured_policies
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, print_json, say
from gateway.config import GatewayConfig, config_schema, load_config, show_config
from gateway.errors import UnavailableError
from gateway.secrets.opening import secret_store
from gateway.secrets.worker_store import FETCHED

app = typer.Typer(help="Check, show and describe the configuration.", no_args_is_help=True)


@app.command()
def check(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Check the configuration and the policies it names; say every problem found."""
    loaded = load_config(config)
    runtime = build_runtime(loaded, configured_policies(loaded))
    _check_references(loaded)
    unsafe = loaded.unsafe_options()
    if json:
        print_json(
            {
                "ok": True,
                "config": str(config),
                "policy_revision": runtime.policies.revision,
                "policy_data_digest": runtime.policies.data_digest,
                "unsafe_options": unsafe,
            }
        )
        return
    say(f"{config} is good: {len(loaded.models)} models on {len(loaded.backends)} backends.")
    say(f"Policies in {loaded.policy.directory} are good: revision {runtime.policies.revision}.")
    for option in unsafe:
        say(f"Unsafe option in use: {option}")


def _check_references(config: GatewayConfig) -> None:
    """Say which secret cannot be had before a call does."""
    references = {f"backends.{each.name}.credential": each.credential for each in config.backends}
    if config.identity.source == "embedded":
        references["identity.seal_key"] = config.identity.seal_key
    store = secret_store(config)
    for place, reference in references.items():
        if reference and not reference.startswith(FETCHED):  # govctl secret doctor looks at those
            try:
                store.read(reference)
            except UnavailableError as error:
                fail(f"{place}: {error.detail} {error.remedy}".strip())


@app.command()
def show(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Show the configuration with every default filled in. Secrets are references and stay references."""
    shown = show_config(load_config(config))
    if json:
        print_json(shown)
    else:
        say(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True).rstrip())


@app.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    print_json(config_schema())
