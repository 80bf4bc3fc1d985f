"""govctl audit seal: closes a segment of the log."""

from gateway.cli.acting import operator, record
from gateway.cli.audit.base import app
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, print_json, say
from gateway.config import load_config
from gateway.retention import latest_checkpoint, open_keeper


@app.command()
def seal(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Close a segment at the newest signed checkpoint. Only whole segments are ever deleted."""
    loaded = load_config(config)
    keeper, _ = open_keeper(loaded, lambda kind, fields: record(loaded, kind, fields))
    segment = keeper.seal(latest_checkpoint(loaded), operator())
    if json:
        print_json({"segment": segment.number, "start": segment.start, "end": segment.end, "root": segment.root})
        return
    say(f"Closed segment {segment.number}: records {segment.start} to {segment.end - 1} of the tree.")
    for chain, first, stop in segment.ranges():
        say(f"  {chain}: {first} to {stop - 1}")
    say("What may be deleted of the log, and when: govctl audit retention simulate")
