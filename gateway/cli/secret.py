"""govctl secret: the sealed file of secrets. Values come from a prompt or standard input, never from an argument."""

import secrets as randomness
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from gateway.cli.acting import now, record
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, print_json, print_table, say, when
from gateway.cli.secret_doctor import doctor
from gateway.config import GatewayConfig, load_config
from gateway.local_control import ask
from gateway.secrets.opening import open_sealed_file
from gateway.secrets.reference_store import SEALED
from gateway.secrets.references import references_of
from gateway.secrets.sealed_file import MAX_VALUE_BYTES, SealedFile, Stored

app = typer.Typer(help="Secrets in the sealed file, referred to as sealed://NAME.", no_args_is_help=True)

_Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the secret.")]
_Generate = Annotated[bool, typer.Option("--generate", help="Make a random value of 32 bytes instead of asking.")]


@app.command("set")
def set_secret(name: _Name, generate: _Generate = False, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Put a secret in. The value is asked for, or read from standard input if that is no terminal."""
    loaded, sealed = _opened(config)
    value = _value(name, generate)
    stored = sealed.add(name, value, now(), lambda made: _record(loaded, made, "set"))
    say(f"{SEALED}{name} is in {sealed.path} (version {stored.version}).")


@app.command()
def rotate(name: _Name, generate: _Generate = False, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Give a secret a new value; a running gateway uses it from its next call on."""
    loaded, sealed = _opened(config)
    value = _value(name, generate)
    stored = sealed.rotate(name, value, now(), lambda made: _record(loaded, made, "rotated"))
    say(f"{SEALED}{name} has its value number {stored.version}. Now end the old one where it was issued.")


@app.command()
def remove(name: _Name, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Take a secret out, if the configuration does not refer to it."""
    loaded, sealed = _opened(config)
    users = sorted(key for key, value in references_of(loaded).items() if value == f"{SEALED}{name}")
    if users:
        fail(f"{name} is in use: {', '.join(users)} refers to it. Change the configuration first.")
    sealed.remove(name, lambda made: _record(loaded, made, "removed"))
    say(f"{name} is gone. Copies and backups of {sealed.path} still have it.")


@app.command("list")
def list_secrets(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """List the secrets, how old each value is and what refers to it; never a value."""
    loaded, sealed = _opened(config)
    users: dict[str, list[str]] = {}
    for key, value in sorted(references_of(loaded).items()):
        users.setdefault(value, []).append(key)
    found: list[dict[str, Any]] = [
        {
            "name": each.name,
            "version": each.version,
            "changed_at": each.changed_at,
            "age_days": max(0, now() - each.changed_at) // 86_400,
            "used_by": users.get(f"{SEALED}{each.name}", []),
        }
        for each in (sealed.all() if sealed.path.exists() else [])
    ]
    if json:
        print_json(found)
        return
    print_table(
        ["NAME", "VERSION", "CHANGED", "DAYS", "USED BY"],
        ([each["name"], each["version"], when(each["changed_at"]), each["age_days"], ", ".join(each["used_by"]) or "-"]
         for each in found),
        empty="There are none: govctl secret set NAME",
    )  # fmt: skip


app.command()(doctor)


@app.command()
def inventory(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """List every credential that the running gateway uses: where it is, its age, version, last use; never a value."""
    found: dict[str, dict[str, Any]] = {}
    for each in ask(load_config(config).state_dir, "secrets"):
        entry = found.setdefault(each["reference"], {**each, "used_by": [], "rotation": _rule(each)})
        entry["used_by"].append(entry.pop("purpose", each["purpose"]))
    listed = list(found.values())
    if json:
        print_json(listed)
        return
    print_table(
        ["SECRET", "KIND", "VERSION", "DAYS", "LAST USE", "ROTATION", "USED BY"],
        ([each["reference"], each["kind"], each.get("version", "-"), _days(each),
          when(each["last_use"]) if "last_use" in each else "-",
          each["rotation"], ", ".join(each["used_by"])] for each in listed),
        empty="The configuration refers to none, or none was needed yet.",
    )  # fmt: skip


def _rule(state: Mapping[str, Any]) -> str:
    if state["kind"] == "dynamic":
        return "by its lease"
    bound = state["max_age_seconds"]
    return f"by hand, within {bound // 86_400} days" if bound else "by hand, without a bound"


def _days(state: Mapping[str, Any]) -> str:
    if not state["readable"]:
        return "cannot be read"
    return str(state["age_seconds"] // 86_400)


def _opened(path: ConfigOption) -> tuple[GatewayConfig, SealedFile]:
    loaded = load_config(path)
    sealed = open_sealed_file(loaded)
    if sealed is None:
        fail(
            "secrets.sealed_file is not configured. Make a key (openssl rand -base64 32 > secrets.key; chmod 600 "
            "secrets.key), and set in the configuration: "
            "secrets: {sealed_file: {path: secrets.sealed, key: 'file:secrets.key'}}"
        )
    return loaded, sealed


def _value(name: str, generate: bool) -> bytes:
    if generate:
        return randomness.token_urlsafe(32).encode()
    if sys.stdin.isatty():
        value: str = typer.prompt(f"Value of {name}", hide_input=True, confirmation_prompt="The same again")
        return value.encode()
    content = sys.stdin.buffer.read(MAX_VALUE_BYTES + 3)
    return content.removesuffix(b"\n").removesuffix(b"\r")


def _record(config: GatewayConfig, made: Stored, change: str) -> None:
    fields = {"secret": f"{SEALED}{made.name}", "change": change, "version": made.version}
    record(config, "secret.changed", fields)
