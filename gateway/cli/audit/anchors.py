"""govctl audit anchors: compare the log with its time stamps and locked copies."""

from audit.anchors.checking import AnchorReport
from audit.anchors.errors import AnchorContradictsError
from gateway.app import open_audit_anchors
from gateway.cli.audit.base import app
from gateway.cli.audit.keys import KeyOption, verifier_keys
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, print_json, print_table, when
from gateway.config import load_config

SECOND = 1_000_000_000


@app.command()
def anchors(key: KeyOption = None, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Check that the log continues every checkpoint that was stamped or copied; exit status 1 if it does not.

    All stamps and all versions of all copies are read, also of copies that somebody hid or put another above.
    """
    settings = load_config(config)
    found = open_audit_anchors(settings)
    if found is None:
        fail("Neither audit.timestamps.url nor audit.copies.endpoint is set: nothing is kept outside.")
    keys, _ = verifier_keys(settings, key)
    try:
        reports = found.compare(keys)
    except AnchorContradictsError as error:
        if json:
            print_json({"ok": False, "cause": str(error)})
        fail(f"{error}")
    if json:
        print_json({"ok": True, "anchors": {name: _document(report) for name, report in reports.items()}})
        return
    rows = [
        (name, each.checkpoints, each.largest, _when(each.first_ns), _when(each.last_ns), len(each.passed_over))
        for name, each in reports.items()
    ]
    columns = ("kept as", "checkpoints", "largest", "earliest", "latest", "passed over")
    print_table(columns, rows, empty="Nothing was kept yet.")


def _when(time_ns: int) -> str:
    return when(time_ns / SECOND) if time_ns else "–"


def _document(report: AnchorReport) -> dict[str, object]:
    return {
        "checkpoints": report.checkpoints,
        "largest": report.largest,
        "first_ns": str(report.first_ns),
        "last_ns": str(report.last_ns),
        "passed_over": report.passed_over,
    }
