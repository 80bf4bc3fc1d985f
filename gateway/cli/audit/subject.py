"""govctl audit subject: everything that the log has about somebody."""

from pathlib import Path
from typing import Annotated

import typer

from audit.chain import Linked
from audit.export.source import Source
from audit.store.base import AuditStore
from compliance.documents.markdown import markdown
from compliance.documents.subject import NAME, Mention, Sealed, access_document, mentions
from compliance.documents.word import word
from gateway.app import open_audit_store
from gateway.cli.acting import ReasonOption, operator, recorded
from gateway.cli.audit.base import app
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, print_json, say
from gateway.config import GatewayConfig, load_config
from gateway.covering import covering
from gateway.sealed_content import open_erasure
from identity.sealing import write_private


@app.command()
def subject(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Exactly as the log writes it.")],
    reason: ReasonOption,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write; it may not exist.")],
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Write down everything that the log has about somebody, for an answer under Article 15 of the GDPR.

    The search is on record with its reason, the name is not. The gateway has to run: it signs the log up to now.
    """
    if output.exists():
        fail(f"{output} exists; name a directory that does not.", 2)
    loaded = load_config(config)
    store = open_audit_store(loaded)
    sealed, searched = _searched(loaded, store, name, reason)
    source = covering(loaded, store, searched)
    found, oldest = _found(source, name)
    document = access_document(name, found, sealed, source, oldest)
    output.mkdir(mode=0o700, parents=True)
    write_private(output / f"{NAME}.md", markdown(document))
    write_private(output / f"{NAME}.docx", word(document, found[-1].time_ns if found else oldest or 0))
    write_private(output / "records.jsonl", b"".join(each.content + b"\n" for each in found))
    if json:
        print_json({"records": len(found), "sealed": len(sealed), "output": str(output)})
    else:
        say(f"{len(found)} records and {len(sealed)} sealed contents are in {output}.")
        say(f"{document.gaps} places are marked for a person to fill.")


def _found(source: Source, name: str) -> tuple[list[Mention], int | None]:
    oldest = next((leaf.record.time_ns for leaf in source.leaves() if leaf.record is not None), None)
    return list(mentions(source, name)), oldest


def _searched(config: GatewayConfig, store: AuditStore, name: str, reason: str) -> tuple[list[Sealed], Linked]:
    """Return what is sealed, and the record of the search, which is written before anything is shown."""
    if not config.audit.sealing.seal_key:
        fields = {"scope": "subject", "cause": reason, "contents": 0}
        return [], recorded(config, "content.searched", fields)
    written: list[Linked] = []
    erasure = open_erasure(config, store, (), lambda kind, fields: written.append(recorded(config, kind, fields)))
    items = erasure.search("subject", name, operator(), reason)
    return [Sealed(each.event_id, each.part, each.size, each.sealed_ns) for each in items], written[-1]
