"""A content store on any engine with everything around it, and a log that remembers what it was told."""

import secrets
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine

from audit.event_id import uuid7
from audit.sealing import (
    AccessRules,
    Content,
    ContentAccess,
    EmbeddedKeyWrapper,
    Erasure,
    Sealer,
    SqlContentStore,
    subkey,
)

LOG = "example.org/audit"
START_NS = 1_800_000_000_000_000_000


@dataclass
class World:
    """`records` is what the log was told, in order."""

    engine: Engine
    master: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    now_ns: int = START_NS
    records: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    held: str = ""

    def __post_init__(self) -> None:
        self.store = SqlContentStore(self.engine, LOG)
        self.sealer = self.make_sealer()

    def clock(self) -> int:
        return self.now_ns

    def make_sealer(self, master: bytes | None = None) -> Sealer:
        key = master or self.master
        return Sealer(self.store, EmbeddedKeyWrapper(key, "content"), subkey(key, "pseudonyms"), self.clock)

    def record(self, record_type: str, fields: dict[str, Any]) -> None:
        self.records.append((record_type, fields))

    def told(self, record_type: str) -> list[dict[str, Any]]:
        return [fields for each, fields in self.records if each == record_type]

    def seal(self, data: bytes, subject: str = "user-1", case: str = "", part: str = "request") -> str:
        event_id = uuid7()
        self.sealer.seal([Content(event_id, part, subject, case, data)])
        return event_id

    def access(self, *, two_people: bool = False) -> ContentAccess:
        rules = AccessRules(readers=("anna", "bert"), two_people=two_people, valid_seconds=600)
        return ContentAccess(self.sealer, rules, self.record, subkey(self.master, "requests"), self.clock)

    def erasure(self) -> Erasure:
        return Erasure(self.sealer, self.record, self.clock, lambda _: self.held, ["nightly"])
