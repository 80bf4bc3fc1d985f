"""Makes copies that are wrong in known ways: a verifier that takes one of them for good proves nothing."""

from pathlib import Path

import orjson

from audit.canonical import canonical
from audit.tlog.checkpoint import Checkpoint, parse_checkpoint
from audit.tlog.merkle import leaf_hash, node_hash
from audit.tlog.proof import format_proof, parse_proof
from compliance.package.facts import SpoiltCopy
from compliance.package.output import Output
from compliance.package.writing import WrittenPopulation

MAX_BYTES = 4_194_304
"""Longest population that copies are made of (bytes)."""


def write_spoilt(
    out: Output, populations: dict[str, WrittenPopulation], record: bytes, proof: bytes
) -> list[SpoiltCopy]:
    """Write the copies with an index, and return what they are.

    Args:
        out: the package, its populations written.
        populations: how they were written.
        record: a record of the log.
        proof: that it is in the log.
    """
    copies: list[SpoiltCopy] = []
    index = []
    name = _smallest(out.directory, populations)
    if name:
        lines = (out.directory / f"populations/{name}.jsonl").read_bytes().splitlines(keepends=True)
        for kind, says, spoilt in (
            ("changed", "one value of one row was changed", [*lines[:-1], _changed(lines[-1])]),
            ("truncated", "the last row was taken out", lines[:-1]),
            ("reordered", "the first two rows were exchanged", [lines[1], lines[0], *lines[2:]]),
        ):
            path = f"spoilt/{kind}/{name}.jsonl"
            out.write(path, "application/jsonl", b"".join(spoilt))
            copies.append(SpoiltCopy(kind, f"A copy of the population {name} in which {says}.", "its Merkle root"))
            index.append({"name": kind, "kind": "population", "population": name, "path": path})
    changed, forked = _forked(record, proof)
    out.write("spoilt/forked/record.json", "application/json", changed)
    out.write("spoilt/forked/record.tlog-proof", "text/plain", forked)
    copies.append(
        SpoiltCopy(
            "forked",
            "A record that was changed, in a tree of its own that leads to the changed record, under the signature of "
            "the real tree.",
            "the signature of its checkpoint",
        )
    )
    index.append({"name": "forked", "kind": "record", "path": "spoilt/forked/record.json"})
    out.write("spoilt/index.json", "application/json", canonical(index))
    return copies


def _smallest(directory: Path, populations: dict[str, WrittenPopulation]) -> str:
    """Return the population with the fewest rows, of which the first two differ; empty if there is none."""
    for name, written in sorted(populations.items(), key=lambda each: (each[1].rows, each[0])):
        path = directory / f"populations/{name}.jsonl"
        if written.rows >= 2 and path.stat().st_size <= MAX_BYTES:
            first, second = path.read_bytes().splitlines()[:2]
            if first != second:
                return name
    return ""


def _changed(line: bytes) -> bytes:
    row = orjson.loads(line)
    row["day"] = "1970-01-01" if row.get("day") != "1970-01-01" else "1970-01-02"
    return canonical(row) + b"\n"


def _forked(record: bytes, proof: bytes) -> tuple[bytes, bytes]:
    """Return a changed record, and a proof that leads from it to a tree with the signatures of the real one."""
    document = orjson.loads(record)
    document["principal"] = "operator:somebody-else"
    changed = canonical(document)
    parsed = parse_proof(proof)
    text, _, signatures = parsed.note.partition(b"\n\n")
    checkpoint = parse_checkpoint(text + b"\n")
    at, last, node = parsed.index, checkpoint.size - 1, leaf_hash(changed)
    for sibling in parsed.hashes:
        if at & 1 or at == last:
            node = node_hash(sibling, node)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        at, last = at >> 1, last >> 1
    fork = Checkpoint(checkpoint.origin, checkpoint.size, node, checkpoint.extensions)
    return changed, format_proof(parsed.index, parsed.hashes, fork.to_text() + b"\n" + signatures)
