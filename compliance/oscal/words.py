"""Forms of OSCAL 1.2.1 that all documents share: identifiers, single lines, properties, metadata."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid5

from audit.canonical import canonical
from compliance.catalogue.model import Control, Framework
from compliance.package.facts import Facts
from compliance.package.lines import one_line
from compliance.package.output import Output

OSCAL_VERSION = "1.2.1"
NAMESPACE = "urn:govgateway:oscal:v1"
"""Namespace of properties that OSCAL does not define."""

DIRECTORY = "oscal"
EXPORTER_ROLE = "prepared-by"

_ROOT = UUID("5d6a5a1c-3e0c-5f0e-9a53-2f9d3c1b7a10")
_NO_TOKEN = re.compile(r"[^A-Za-z0-9._-]")
_SECOND = 1_000_000_000

Document = dict[str, Any]


class Names:
    """Identifiers that are the same in every export of the same question, and in no other.

    Args:
        facts: what the package is of; the commitment and the tree make its documents unlike those of other packages.
    """

    def __init__(self, facts: Facts) -> None:
        self._base = uuid5(_ROOT, f"{facts.checkpoint.root.hex()}|{facts.commitment.digest}|{facts.seed}")

    def uuid(self, *about: str) -> str:
        """Return the UUID (version 5) of a thing of this package."""
        return str(uuid5(self._base, "\x1f".join(about)))


def token(text: str) -> str:
    """Return a text as an OSCAL token; two texts never give the same."""
    made = _NO_TOKEN.sub("_", text)
    if not made or not (made[0].isalpha() or made[0] == "_"):
        made = f"_{made}"
    return made if made == text else f"{made}-{sha256(text.encode()).hexdigest()[:6]}"


def control_id(framework: str, control: Control) -> str:
    """Return the identifier of a control among all frameworks."""
    return f"{token(framework)}_{token(control.id)}"


def objective_id(framework: str, control: Control, test: str = "") -> str:
    """Return the identifier of what a control, or one test of it, has to show."""
    return f"{control_id(framework, control)}_obj" + (f".{token(test)}" if test else "")


def catalog_path(framework: Framework) -> str:
    """Return where the catalog of a framework is, within the directory of these documents."""
    return f"catalog-{token(framework.framework)}.json"


def line(text: str, otherwise: str = "not stated") -> str:
    """Return a text as one line: what OSCAL allows in titles and values."""
    return one_line(text, otherwise)


def prose(text: str, otherwise: str = "Not stated.") -> str:
    """Return a text of several lines without control characters.

    OSCAL reads it as Markdown: what could be read as markup is escaped, so that data stays data.
    """
    kept = "\n".join(line(each, "") for each in text.splitlines()).strip()
    return re.sub(r"([\\`*_<>\[\]{}#|~])", r"\\\1", kept) or otherwise


def prop(name: str, value: str | int | bool, remarks: str = "", *, ours: bool = True) -> Document:
    """Return a property.

    Args:
        name: its name, a token.
        value: what it says.
        remarks: more about it.
        ours: it is of our namespace, and not one that OSCAL defines.
    """
    said = str(value).lower() if isinstance(value, bool) else str(value)
    made: Document = {"name": name, "value": line(said)}
    if ours:
        made["ns"] = NAMESPACE
    if remarks:
        made["remarks"] = prose(remarks)
    return made


def moment(time_ns: int) -> str:
    """Return a time (UNIX nanoseconds) as OSCAL writes it, to the second, in UTC."""
    return datetime.fromtimestamp(time_ns // _SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def metadata(facts: Facts, names: Names, title: str) -> Document:
    """Return the metadata of a document: its version is the program's, its time that of the signed tree."""
    exporter = names.uuid("party", facts.exporter)
    return {
        "title": line(title),
        "last-modified": moment(facts.checkpoint.time_ns),
        "version": line(facts.versions.get("govgateway", ""), "unknown"),
        "oscal-version": OSCAL_VERSION,
        "props": [
            prop("log", facts.origin),
            prop("log-root", facts.checkpoint.root.hex()),
            prop("log-size", facts.checkpoint.size),
            prop("commitment", facts.commitment.digest),
        ],
        "roles": [{"id": EXPORTER_ROLE, "title": "Whoever exported the evidence"}],
        "parties": [{"uuid": exporter, "type": "person", "name": line(facts.exporter)}],
        "responsible-parties": [{"role-id": EXPORTER_ROLE, "party-uuids": [exporter]}],
    }


def resource(uuid: str, title: str, href: str, media_type: str, digest: str = "") -> Document:
    """Return a file of the package as a resource of a document's back matter."""
    link: Document = {"href": href, "media-type": media_type}
    if digest:
        link["hashes"] = [{"algorithm": "SHA-256", "value": digest}]
    return {"uuid": uuid, "title": line(title), "rlinks": [link]}


def filled(document: Mapping[str, Any]) -> Document:
    """Return a document without empty members: OSCAL has no empty lists."""
    return {name: value for name, value in document.items() if value not in ([], {}, "", None)}


def write(out: Output, name: str, document: Document) -> None:
    """Write a document."""
    out.write(f"{DIRECTORY}/{name}", "application/oscal+json", canonical(document))


def in_order(found: Iterable[str]) -> list[str]:
    """Return texts, each once, sorted."""
    return sorted(set(found))
