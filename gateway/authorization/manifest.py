"""The bundle manifest: what revision this is, what it covers, and how it came about."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.errors import ConfigError

MANIFEST = ".manifest"
"""Name of the manifest in a bundle (www.openpolicyagent.org, bundle file format)."""

Line = Annotated[str, Field(max_length=500)]


class Change(BaseModel):
    """How a revision came about, as the pipeline that built it says. The bundle's signature covers it.

    Attributes:
        serial: rises with every revision; an older one is activated only as a rollback. 0: without an order.
        commit: the commit that was built.
        commit_signed: whether the pipeline verified the commit's signature.
        author: who wrote the change.
        approvers: who approved it.
        link: the pull request.
        checks: names of the checks that passed.
        impact: counts of the impact report, for instance `{"allow_to_deny": 3}`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    serial: int = Field(0, ge=0, le=2**53 - 1)
    commit: Line = ""
    commit_signed: bool = False
    author: Line = ""
    approvers: tuple[Line, ...] = Field((), max_length=50)
    link: Line = ""
    checks: tuple[Line, ...] = Field((), max_length=50)
    impact: dict[Line, int] = Field({}, max_length=50)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A bundle manifest.

    Attributes:
        revision: name of the revision, empty without one.
        roots: paths of `data` that the bundle covers; `("",)` for everything.
        change: how the revision came about (`metadata.govgateway`).
    """

    revision: str = ""
    roots: tuple[str, ...] = ("",)
    change: Change = field(default_factory=Change)

    def to_json(self) -> bytes:
        """Return the manifest as a bundle holds it: the same bytes for the same content."""
        document = {
            "revision": self.revision,
            "roots": sorted(self.roots),
            "rego_version": 1,
            "metadata": {"govgateway": self.change.model_dump(mode="json")},
        }
        return orjson.dumps(document, option=orjson.OPT_SORT_KEYS) + b"\n"


def parse_manifest(content: bytes | None, path: Path) -> Manifest:
    """Return the manifest in `content`; without any, that of a tree that covers everything.

    Raises:
        ConfigError: no manifest of OPA's form for Rego v1; the message names `path`.
    """
    if content is None:
        return Manifest()
    try:
        document = orjson.loads(content)
    except ValueError as error:
        raise ConfigError(f"{path} is not a bundle manifest (JSON): {error}.") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: a bundle manifest is an object.")
    revision, roots = document.get("revision", ""), document.get("roots", [""])
    if not isinstance(revision, str) or not _is_texts(roots):
        raise ConfigError(f"{path}: a bundle manifest is an object with a text 'revision' and a list 'roots'.")
    if document.get("rego_version", 1) != 1 or document.get("file_rego_versions"):
        raise ConfigError(f"{path}: rego_version is {document.get('rego_version')!r}; policies here are Rego v1.")
    metadata = document.get("metadata", {})
    try:
        change = Change.model_validate(metadata.get("govgateway", {}) if isinstance(metadata, dict) else None)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, ("metadata", "govgateway", *first["loc"])))
        raise ConfigError(f"{path}: {place}: {first['msg']}.") from None
    return Manifest(revision, tuple(root.strip("/") for root in roots), change)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
