"""govctl policy check."""

from gateway.authorization.policy_set import load_policy_set
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, print_json, say
from gateway.cli.policy.base import app
from gateway.config import load_config


@app.command()
def check(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Load the policies as the gateway would: syntax, data, builtins, entry point, default deny."""
    policies = load_policy_set(load_config(config).policy.directory)
    if json:
        print_json({"ok": True, "revision": policies.revision, "data_digest": policies.data_digest})
    else:
        say(f"The policies are good: revision {policies.revision}.")
