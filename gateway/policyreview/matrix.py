"""The access matrix for reviews: as CSV for a spreadsheet, as HTML for a person, as JSON for a program."""

import csv
import io
import json
from collections.abc import Sequence
from html import escape

from gateway.policyreview.access import Access
from gateway.policyreview.inert import plain

# The wide forms count for spreadsheets of some languages.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_LONGEST = 2048
"""Longest text of a cell: that of a SPIFFE ID. Two that were cut could not be told apart."""
_STYLE = (
    "body{font:15px/1.4 system-ui,sans-serif;margin:2em;color:#1a1a1a}table{border-collapse:collapse}"
    "caption{text-align:left;margin-bottom:1em}th,td{border:1px solid #bbb;padding:.3em .6em;text-align:left}"
    "th[scope=col]{vertical-align:bottom}td.yes{background:#e2f3e2}td.no{color:#666}"
)
_HEAD = ("principal", "kind", "team", "owner", "status")


def matrix_csv(rows: Sequence[Sequence[Access]], columns: Sequence[tuple[str, str]]) -> str:
    """Return the matrix as CSV (RFC 4180); no cell is a formula to a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([*_HEAD, *(_cell(f"{action} {model}") for model, action in columns)])
    for row in rows:
        writer.writerow(_cell(text) for text in (*_who(row[0]), *map(_answer, row)))
    return out.getvalue()


def matrix_json(rows: Sequence[Sequence[Access]], revision: str, data_digest: str, time: str) -> str:
    """Return the matrix as JSON: a list of answers, and what they were decided by (see `matrix_html`)."""
    answers = [each.document() for row in rows for each in row]
    document = {"revision": revision, "data_digest": data_digest, "time": time, "answers": answers}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def matrix_html(
    rows: Sequence[Sequence[Access]], columns: Sequence[tuple[str, str]], revision: str, data_digest: str, time: str
) -> str:
    """Return the matrix as one HTML page without scripts or anything from elsewhere.

    Args:
        rows: one for each principal, in the order of `columns`.
        columns: model and action.
        revision, data_digest: of the policies.
        time: when it was made, for people.
    """
    heads = "".join(f'<th scope="col">{escape(plain(text))}</th>' for text in _HEAD)
    heads += "".join(
        f'<th scope="col">{escape(plain(model, _LONGEST))}<br>{escape(action)}</th>' for model, action in columns
    )
    body = "".join(f"<tr>{_row(row)}</tr>\n" for row in rows)
    caption = (
        f"Who may use which model, on {escape(time)}.<br>Policies: revision {escape(plain(revision))}, "
        f"data {escape(data_digest)}. {len(rows)} principals."
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Access matrix</title>\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<style>{_STYLE}</style></head>\n<body><table><caption>{caption}</caption>\n"
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}</tbody></table></body></html>\n"
    )


def _row(row: Sequence[Access]) -> str:
    who = [escape(plain(text, _LONGEST)) for text in _who(row[0])]
    cells = f'<th scope="row">{who[0]}</th>' + "".join(f"<td>{text}</td>" for text in who[1:])
    for each in row:
        css = "yes" if each.allow else "no"
        cells += f'<td class="{css}">{escape(plain(_answer(each)))}</td>'
    return cells


def _who(access: Access) -> tuple[str, ...]:
    agent = access.principal
    return (agent.id, agent.kind, agent.team, agent.owner, agent.status)


def _answer(access: Access) -> str:
    if not access.allow:
        return f"no: {access.how}"
    return f"yes, {access.how}" if access.how else "yes"


def _cell(text: str) -> str:
    """Return text that a spreadsheet takes for text."""
    shown = plain(text, _LONGEST)
    # Some strip the spaces before they look for a formula.
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) else shown
