"""govctl audit checkpoint, prove."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from audit.receipts import CHECKPOINT
from audit.receipts import prove as make_receipt
from audit.tlog.errors import NoteError
from audit.tlog.note import parse_note
from audit.verification.checkpoints import SignedCheckpoint, open_checkpoint
from gateway.app import open_audit_store
from gateway.cli.audit.base import app
from gateway.cli.audit.keys import KeyOption, verifier_keys
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, print_json, print_table, say
from gateway.config import GatewayConfig, load_config


@app.command()
def checkpoint(
    key: KeyOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write it there, to be kept elsewhere.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Show the latest checkpoint: size, root, age, chains' ends, signatures; exit status 1 if it is not signed."""
    settings = load_config(config)
    keys, _ = verifier_keys(settings, key)
    path = settings.audit_tree / CHECKPOINT
    signed = latest(settings)
    if signed is None:
        fail("the log has no signed checkpoint yet: the gateway signs one when it runs.")
    problem = ""
    try:
        signed = open_checkpoint(signed.note, settings.audit_log, keys)
    except NoteError as error:
        problem = str(error)
    if output is not None:
        write_new(output, signed.note)
    age = max(0, int(time.time() - path.stat().st_mtime))
    if json:
        print_json(_document(signed, age, problem))
    else:
        _tell(signed, age, problem)
    if problem:
        raise typer.Exit(1)


@app.command()
def prove(
    event_id: Annotated[str, typer.Argument(help="Event id of the record: the x-request-id of an answer.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write there: NAME the record, NAME.tlog-proof its proof.", metavar="NAME"),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Prove that a record is in the signed tree, to somebody who has the log's public key and nothing else."""
    settings = load_config(config)
    receipt = make_receipt(open_audit_store(settings), settings.audit_tree, event_id)
    if receipt is None:
        fail(f"the log {settings.audit_log} has no record {event_id}.")
    if output is not None:
        proof = output.with_name(f"{output.name}.tlog-proof")
        write_new(output, receipt.record.record)
        write_new(proof, receipt.proof)
        if not json:
            say(f"The record is in {output}, its proof in {proof}. With the log's public key they are verified by:")
            say(f"  python -I verify_audit.py receipt {output} {proof} --key KEY")
    if json:
        print_json(
            {
                "event_id": receipt.record.event_id,
                "chain": receipt.record.chain,
                "sequence": receipt.record.sequence,
                "hash": receipt.record.hash,
                "index": receipt.index,
                "record": receipt.record.record.decode(),
                "proof": receipt.proof.decode(),
            }
        )
    elif output is None:
        typer.echo(receipt.record.record.decode())
        typer.echo(receipt.proof.decode(), nl=False)


def latest(settings: GatewayConfig) -> SignedCheckpoint | None:
    """Return the latest checkpoint, its signatures not verified; None if there is none.

    Raises:
        NoteError: it is malformed.
    """
    try:
        note = (settings.audit_tree / CHECKPOINT).read_bytes()
    except FileNotFoundError:
        return None
    return open_checkpoint(note, settings.audit_log, ())


def write_new(path: Path, data: bytes) -> None:
    """Write a file that is not there yet."""
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        fail(f"{path} is there already; name another file.")
    except OSError as error:
        fail(f"{path} cannot be written: {error.strerror}.")


def _document(signed: SignedCheckpoint, age: int, problem: str) -> dict[str, Any]:
    return {
        "ok": not problem,
        "problem": problem,
        "log": signed.checkpoint.origin,
        "size": signed.checkpoint.size,
        "root": signed.checkpoint.root.hex(),
        "age_seconds": age,
        "chains": {chain: {"sequence": h.sequence, "hash": h.hash} for chain, h in signed.heads.items()},
        "signers": list(signed.signers),
        "signatures": [{"name": s.name, "key_id": s.key_id.hex()} for s in parse_note(signed.note)[1]],
        "note": signed.note.decode(),
    }


def _tell(signed: SignedCheckpoint, age: int, problem: str) -> None:
    say(f"{signed.checkpoint.origin}: {signed.checkpoint.size} records, {age} seconds old")
    say(f"Root {signed.checkpoint.root.hex()}")
    rows = [(chain, head.sequence + 1, head.hash) for chain, head in signed.heads.items()]
    print_table(["chain", "records", "hash of the last"], rows, empty="")
    lines = parse_note(signed.note)[1]
    verified = [s.name for s in lines if s.name in signed.signers]
    others = [s.name for s in lines if s.name not in signed.signers]
    if problem:
        say(f"NOT SIGNED: {problem}")
    elif verified:
        say(f"Signed by {', '.join(verified)}.")
    if others:
        say(f"Further signatures, not verified here: {', '.join(others)}.")
