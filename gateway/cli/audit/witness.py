"""govctl audit witness: cosign the checkpoints of other teams' logs."""

import ipaddress
import time
from pathlib import Path
from typing import Annotated

import typer
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from audit.tlog.errors import NoteError
from audit.tlog.note import CosignatureSigner, parse_verifier_key
from audit.witness.deciding import WitnessRules
from audit.witness.serving import serve as serve_witness
from audit.witness.state import WitnessState
from gateway.cli.audit.base import app
from gateway.cli.output import JsonOption, fail, print_json, print_table, say
from identity.errors import SealError
from identity.sealing import read_private, write_private

witness = typer.Typer(help="Be a witness for the logs of others.", no_args_is_help=True)
app.add_typer(witness, name="witness")

StateOption = Annotated[Path, typer.Option("--state", help="File that remembers what was cosigned.")]
KeyOption = Annotated[Path, typer.Option("--key", help="The witness's private key (PEM), from keygen.")]
NameOption = Annotated[str, typer.Option("--name", help="Name of the key, such as witness.example.org/audit.")]


@witness.command()
def keygen(
    name: NameOption,
    out: Annotated[Path, typer.Option("--out", help="File for the private key; it must not be there yet.")],
) -> None:
    """Make a key for a witness, and print the verifier key for the policies of others."""
    if out.exists():
        fail(f"{out} exists already; a witness's key is not overwritten.")
    key = Ed25519PrivateKey.generate()
    try:
        verifier_key = _signer(name, key).verifier_key
        write_private(out, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    except (NoteError, SealError) as error:
        fail(f"{error}.")
    say(verifier_key)


@witness.command()
def serve(
    name: NameOption,
    key: KeyOption,
    state: StateOption,
    log: Annotated[
        list[Path], typer.Option("--log", help="File with verifier keys of logs to watch, one a line. Repeatable.")
    ],
    listen: Annotated[str, typer.Option("--listen", help="Address and port.")] = "127.0.0.1:8445",
    cert_file: Annotated[Path | None, typer.Option("--tls-cert", help="TLS certificate chain (PEM).")] = None,
    key_file: Annotated[Path | None, typer.Option("--tls-key", help="Its key (PEM).")] = None,
) -> None:
    """Cosign what continues what was cosigned before, until Ctrl-C. Run it where the log's operator has no say."""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    try:
        ipaddress.ip_address(host)
        number = int(port)
    except ValueError:
        fail(f"--listen {listen}: give an IP address and a port, such as 127.0.0.1:8445.")
    if (cert_file is None) != (key_file is None):
        fail("--tls-cert and --tls-key go together.")
    try:
        private_key = load_pem_private_key(read_private(key), None)
        if not isinstance(private_key, Ed25519PrivateKey):
            fail(f"{key} is no Ed25519 key.")
        logs = [parse_verifier_key(line) for path in log for line in path.read_text().split("\n") if line.strip()]
        signer = _signer(name, private_key)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm, SealError) as error:
        fail(f"{error}.")
    rules = WitnessRules(WitnessState(state), [signer], logs)
    watched = ", ".join(sorted({each.name for each in logs}))
    scheme = "https" if cert_file else "http"

    def ready(taken: int) -> None:
        say(f"Witness {name} at {scheme}://{listen.rpartition(':')[0]}:{taken} for: {watched}")

    serve_witness(rules, host, number, certificate=cert_file, key=key_file, ready=ready)


@witness.command()
def show(state: StateOption, json: JsonOption = False) -> None:
    """Show the latest checkpoint of each log that was cosigned."""
    if not state.exists():
        fail(f"{state} is not there; the witness makes it when it first runs.")
    seen = WitnessState(state).all()
    if json:
        print_json([{"origin": each.origin, "size": each.size, "root": each.root.hex()} for each in seen])
        return
    rows = [(each.origin, each.size, each.root.hex()) for each in seen]
    print_table(("log", "records", "root"), rows, empty="Nothing was cosigned yet.")


def _signer(name: str, key: Ed25519PrivateKey) -> CosignatureSigner:
    return CosignatureSigner(name, key, lambda: int(time.time()))
