"""govctl audit verify."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from audit.store import AuditStore
from audit.verification import ChainReport, Finding, LogReport, TreeReport, load_state, save_state, verify_log
from gateway.app import open_audit_store
from gateway.cli.audit.base import app
from gateway.cli.audit.keys import KeyOption, PolicyOption, verifier_keys, witness_policy
from gateway.cli.audit.sealed import last_deleted
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, errors, fail, print_json, say, when
from gateway.config import load_config

SHOWN_FINDINGS = 20


@app.command()
def verify(
    key: KeyOption = None,
    since: Annotated[
        list[Path] | None,
        typer.Option(help="Signed checkpoint that you kept; the tree has to continue it. May be repeated."),
    ] = None,
    sealed: Annotated[
        Path | None,
        typer.Option(
            help="Signed checkpoint of the last segment that retention deleted; default: as its journal has it.",
            show_default=False,
        ),
    ] = None,
    policy: PolicyOption = None,
    state: Annotated[
        Path | None,
        typer.Option(help="File of yours that keeps how far the log was verified; only what is new is read."),
    ] = None,
    schemas: Annotated[bool, typer.Option("--schemas", help="Also check the fields of each record.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Verify every record and link, the calls' outcomes, and the signed tree; exit status 1 if anything is wrong."""
    settings = load_config(config)
    store = open_audit_store(settings)
    keys, own = verifier_keys(settings, key)
    witnesses = witness_policy(settings, policy)
    before = load_state(state, store.log) if state is not None else None
    columns = (TextColumn("Verifying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=json) as progress:
        done = {name: each.head.sequence + 1 for name, each in before.chains.items()} if before is not None else {}
        task = progress.add_task("records", total=_count(store, done))
        report = verify_log(
            store,
            settings.audit_tree,
            keys=keys,
            policy=witnesses[0] if witnesses is not None else None,
            state=before,
            older=[_read(path) for path in since or ()],
            sealed=_read(sealed) if sealed is not None else last_deleted(settings),
            check=_form_check() if schemas else None,
            progress=lambda count: progress.advance(task, count),
        )
    if report.ok and state is not None:
        save_state(state, report.state())
    if json:
        print_json({**_document(report), "keys": "given" if own else "beside the log" if keys else "none"})
    else:
        _tell(report, own=own, known=bool(keys))
    if not report.ok:
        raise typer.Exit(1)


def _form_check() -> Callable[[dict[str, Any]], list[str]]:
    from audit.events.validation import validate_record  # noqa: PLC0415 - the definitions take a moment to build

    return validate_record


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}. Name the file of a signed checkpoint.")


def _count(store: AuditStore, done: dict[str, int]) -> int:
    total = 0
    for chain in store.chains():
        with store.reader(chain) as reader:
            first, last = reader.first(), reader.last(1)
        if first is not None:
            total += max(0, last[0].sequence + 1 - max(first.sequence, done.get(chain, 0)))
    return total


def _tell(report: LogReport, *, own: bool, known: bool) -> None:
    for chain in report.chains:
        _tell_chain(chain)
    if not report.chains:
        say(f"The log {report.log} has no record yet.")
    _tell_tree(report.tree, own=own, known=known)
    if not report.ok:
        say("The log was changed or damaged.")
    elif report.chains:
        say("Every record is the one that was written, in its place, none missing in between.")
        if report.tree.signed is None:
            say("Nothing is signed yet. Keep the heads above elsewhere to notice a log that was written anew.")
        elif not report.tree.continues:
            say(
                "Keep the checkpoint elsewhere, and give it to --since next time: it shows a log that was written anew."
            )


def _tell_chain(report: ChainReport) -> None:
    state = "good" if report.ok else "BROKEN"
    say(f"{report.chain}: {state}, {report.records} records, head {report.head.sequence} {report.head.hash}")
    if report.kept_from:
        say(f"  Records before {report.kept_from} were deleted by retention.")
    if report.explained:
        by = {each.by: 0 for each in report.explained}
        for each in report.explained:
            by[each.by] += 1
        told = ", ".join(f"{count} by {name}" for name, count in sorted(by.items()))
        say(f"  {len(report.explained)} calls have no outcome, explained: {told}.")
    if report.open_intents:
        say(f"  {len(report.open_intents)} calls have no outcome yet.")
    _tell_findings(report.findings)


def _tell_tree(report: TreeReport, *, own: bool, known: bool) -> None:
    if report.signed is not None:
        checkpoint = report.signed.checkpoint
        say(f"tree: {'good' if report.ok else 'BROKEN'}, {checkpoint.size} records, root {checkpoint.root.hex()}")
        say(f"  {report.compared} leaves were compared with their records; {report.deleted} records are deleted.")
        if report.signed.signers:
            source = "the key that you gave" if own else "the key that lies beside the log; get it from elsewhere, too"
            say(f"  Signed by {', '.join(report.signed.signers)}, verified with {source}.")
        elif not known:
            say("  The signature was not verified: no key is known. Give it with --key.")
        for name, time in report.signed.cosigners:
            say(f"  Cosigned by {name}, {when(time)}.")
        for size in report.continues:
            say(f"  Continues the checkpoint of {size} records.")
    _tell_findings(report.findings)


def _tell_findings(findings: Sequence[Finding]) -> None:
    for finding in findings[:SHOWN_FINDINGS]:
        place = f"record {finding.sequence}: " if finding.sequence >= 0 and finding.chain else ""
        say(f"  {place}{finding.message} [{finding.rule}]")
    if len(findings) > SHOWN_FINDINGS:
        say(f"  and {len(findings) - SHOWN_FINDINGS} more.")


def _document(report: LogReport) -> dict[str, Any]:
    return {
        "ok": report.ok,
        "log": report.log,
        "chains": [_chain(each) for each in report.chains],
        "tree": _tree(report),
    }


def _chain(report: ChainReport) -> dict[str, Any]:
    return {
        "log": report.chain,
        "chain": report.chain,
        "ok": report.ok,
        "start": report.start,
        "kept_from": report.kept_from,
        "records": report.records,
        "head": {"sequence": report.head.sequence, "hash": report.head.hash},
        "open_intents": report.open_intents,
        "explained": [
            {"intent": e.intent, "sequence": e.sequence, "by": e.by, "by_event_id": e.by_event_id}
            for e in report.explained
        ],
        "findings": _findings(report.findings),
    }


def _tree(report: LogReport) -> dict[str, Any]:
    tree = report.tree
    document: dict[str, Any] = {"ok": tree.ok, "findings": _findings(tree.findings), "continues": tree.continues}
    if tree.signed is not None:
        document |= {
            "size": tree.signed.checkpoint.size,
            "root": tree.signed.checkpoint.root.hex(),
            "signers": list(tree.signed.signers),
            "cosigners": [{"name": name, "time": time} for name, time in tree.signed.cosigners],
            "compared": tree.compared,
            "deleted": tree.deleted,
        }
    return document


def _findings(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [{"rule": f.rule, "sequence": f.sequence, "message": f.message} for f in findings]
