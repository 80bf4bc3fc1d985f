"""What people do in the course of a month at a gateway: in order, and not in order."""

import sqlite3
from contextlib import closing
from typing import Any

from tests.support.month_of_traffic import Act, Month, day


def start_review(name: str, deadline: int) -> Act:
    def act(month: Month) -> None:
        month.govctl("agent", "review", "start", name, "--deadline", day(deadline))

    return act


def decide_review(name: str) -> Act:
    """Decide on every identity of a review."""

    def act(month: Month) -> None:
        (asked,) = [each for each in month.said("agent", "review", "list") if each["name"] == name]
        for item in asked["items"]:
            month.govctl("agent", "review", "decide", name, item["id"], "--decision", "keep", "--reason", "needed")

    return act


def close_review(name: str) -> Act:
    """Close a review."""

    def act(month: Month) -> None:
        month.govctl("agent", "review", "close", name)

    return act


def change_policies(revision: str, bound: int, approver: str = "grace") -> Act:
    """Let an agent have another number of tokens a day."""

    def act(month: Month) -> None:
        limit = {"name": "everybody", "scope": "agent", "tokens_per_day": bound}
        month.author.edit("limits", lambda table: {"quota": [*table["quota"][:3], limit]})
        month.activate(revision, approver=approver)

    return act


def oversee(revision: str, *overseers: str) -> Act:
    """Name other overseers of one system; without any, the rule that refuses its calls is switched off as well."""

    def changed(systems: dict[str, Any]) -> dict[str, Any]:
        systems["benefits"]["oversight"]["overseers"] = list(overseers)
        return systems

    def act(month: Month) -> None:
        month.author.edit("systems", changed)
        month.author.edit("ai_act", lambda table: _enforced(table, "oversight_missing", bool(overseers)))
        month.activate(revision)

    return act


def _enforced(table: dict[str, Any], rule: str, enforce: bool) -> dict[str, Any]:
    table["rules"][rule]["enforce"] = enforce
    return table


def open_incident(month: Month) -> None:
    (called,) = month.call("clerk", {"model": "example-hiring", "messages": [{"role": "user", "content": "hello"}]})
    month.govctl(
        "incident", "open", "--system", "hiring", "--title", "A list was sent to the wrong clerk", "--reason",
        "the clerk said so", "--aware-at", month.time.now.isoformat(timespec="seconds"), "--call", called.call,
    )  # fmt: skip


def incident(*what: str) -> Act:
    def act(month: Month) -> None:
        (known,) = month.said("incident", "list", "--all")
        month.govctl("incident", what[0], known["incident"], *what[1:])

    return act


def open_and_erase_content(month: Month) -> None:
    (called,) = month.call("visitor", {"model": "example-chat", "messages": [{"role": "user", "content": "my story"}]})
    reason = ("--reason", "Art. 15 request 12")
    month.govctl("audit", "content", "open", called.call, "--part", "request", *reason, who="officer")
    month.govctl("audit", "erase", "--subject", month.agents["visitor"].id, "--reason", "Art. 17 request 12")


def revoke(name: str) -> Act:
    def act(month: Month) -> None:
        month.revoke(name, "its key was seen elsewhere")
        del month.agents[name]

    return act


def maintain(month: Month) -> None:
    """Stop the gateway, and start it again after a while."""
    month.stop()
    month.start()


def cut_power(month: Month) -> None:
    """End the gateway without a word, and start it again after a while."""
    month.kill()
    month.start()


def back_up_inventory(month: Month) -> None:
    with closing(sqlite3.connect(month.home / "state" / "registry.sqlite")) as live:
        live.execute("VACUUM INTO ?", (str(month.home / "inventory.backup"),))


def restore_inventory(month: Month) -> None:
    """Put the backup of the day before in its place, without what was changed since."""
    month.stop()
    for left in ("registry.sqlite-wal", "registry.sqlite-shm"):
        (month.home / "state" / left).unlink(missing_ok=True)
    (month.home / "inventory.backup").replace(month.home / "state" / "registry.sqlite")
    month.start()
