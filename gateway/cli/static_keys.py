"""govctl agent static-keys: what still rests on a key that lasts, on the way to identities that do not."""

from dataclasses import asdict

from gateway.cli.acting import inventory
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, print_json, print_table
from gateway.static_keys import static_keys


def report(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """List backends, routes and identities that still use a static key, and what to do about each."""
    loaded, opened = inventory(config)
    with opened as registry:
        contents, snapshot = registry.contents(), registry.snapshot(entries=False)
        in_date = [
            svid
            for svid in registry.svids_in_date()
            if snapshot.refusal(svid["id"], svid["serial"], (svid["authority_id"],)) is None
        ]
    found = static_keys(loaded, contents.agents, in_date, contents.entries)
    if json:
        print_json([asdict(each) for each in found])
    else:
        print_table(
            ["finding", "subject", "what", "remedy"],
            ([each.finding, each.subject, each.detail, each.remedy] for each in found),
            empty="Nothing rests on a static key.",
        )
