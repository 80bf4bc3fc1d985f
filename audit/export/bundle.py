"""What a bundle holds beside records and tiles: the verifier, and in words how to use it."""

from importlib.resources import files
from typing import TYPE_CHECKING

import orjson

from audit.export.output import Output
from audit.export.source import Source

if TYPE_CHECKING:
    from audit.export.run import ExportRequest

VERIFIER = "verify_audit.py"

_README = """\
Export of the audit log {log}

{records} records of {size}, as they stood when the tree of {size} was signed.{excerpt}{deleted}

  records.jsonl       one record a line, in the order of the tree: its index there, and its exact bytes
  checkpoint          size and root of the tree and the end of each chain, signed by the log (C2SP tlog-checkpoint)
  tile/               the hashes of the tree (C2SP tlog-tiles)
  {verifier}     verifies all of it; needs Python 3.11 and the package cryptography
  log.vkey            the log's public key, for information: the one to trust comes by another way
  manifest.json       what was asked for, for information
{further}
To verify, on any machine:

  python -I {verifier} export . --key KEY{option}

KEY is the log's public key as its operator published it elsewhere, not the one that lies here: whoever can forge an
export can put another key beside it. Take {verifier} from elsewhere too if you trust nothing here; it is the
same file in every release.

Keep the file checkpoint. Given with --since to the next export, it shows that the log was not written anew in between.
"""


def write_extras(source: Source, output: Output, request: "ExportRequest", records: int, deleted: int) -> None:
    """Write everything but records, tiles and checkpoint."""
    size = source.checkpoint.size
    excerpt = bool(request.since or request.until)
    further = []
    if request.policy:
        output.write("witness-policy.txt", request.policy.encode())
        further.append(
            "witness-policy.txt  whose cosignatures the operator asks for (C2SP tlog-policy), for information"
        )
    if request.sealed:
        output.write("sealed-checkpoint", request.sealed)
        further.append("sealed-checkpoint   the signed tree up to which retention deleted records")
    for name, data in request.timestamps:
        output.write(name, data)
        further.append(f"{name:18}  a time stamp (RFC 3161), or what it is of")
    words = {
        "log": source.store.log,
        "size": size,
        "records": records,
        "excerpt": " It is an excerpt by time." if excerpt else "",
        "deleted": f" Of the others, {deleted} were deleted by retention." if deleted else "",
        "verifier": VERIFIER,
        "further": "".join(f"  {each}\n" for each in further),
        "option": " --excerpt" if excerpt else "",
    }
    manifest = {
        "format": "govgateway-audit-export",
        "version": 1,
        "log": source.store.log,
        "size": size,
        "records": records,
        "deleted": deleted,
        "since_ns": str(request.since),
        "until_ns": str(request.until),
    }
    output.write("README.txt", _README.format(**words).encode())
    output.write("manifest.json", orjson.dumps(manifest, option=orjson.OPT_INDENT_2) + b"\n")
    output.write("log.vkey", "".join(f"{key}\n" for key in request.verifier_keys).encode())
    output.write(VERIFIER, files("audit.offline").joinpath(VERIFIER).read_bytes())
