"""Draws the auditor's samples, and puts the exact record of each beside its proof."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from audit.canonical import canonical
from compliance.offline.verify_evidence import TRACED
from compliance.package.drawing import draw
from compliance.package.facts import Sample
from compliance.package.output import Output
from compliance.package.question import Question
from compliance.package.records import Records
from compliance.package.writing import WrittenPopulation

LOG = "log"
"""Where a sample is drawn from that is a leaf of the window."""

_DECIDED = frozenset({"access.intent", "access.denied", "quota.exceeded", "admin.request"})


class Sampler:
    """Draws, and writes what was drawn.

    Args:
        question: what the package is asked for.
        seed: the auditor's text.
        records: the log as it was signed.
        bundles: SHA-256 (hex) of the bundle that decided, by revision and digest of its data, for those at hand.
        out: the package.
    """

    def __init__(
        self,
        question: Question,
        seed: str,
        records: Records,
        bundles: Mapping[tuple[str, str], str],
        out: Output,
    ) -> None:
        self.samples: list[Sample] = []
        self.used_bundles: set[str] = set()
        self._question = question
        self._seed = seed
        self._records = records
        self._bundles = bundles
        self._out = out
        self._written: set[int] = set()
        self._index: list[dict[str, Any]] = []
        self._drawn: dict[str, Any] = {}

    def population(self, name: str, written: WrittenPopulation, lines: Path) -> None:
        """Draw from a population.

        Args:
            name: its name.
            written: how it was written.
            lines: its JSON Lines file.
        """
        places = draw(self._seed, written.root, written.rows, self._question.samples)
        self._drawn[name] = {"root": written.root.hex(), "rows": written.rows, "drawn": places}
        rows = _lines_at(lines, places)
        for place in places:
            row = orjson.loads(rows[place])
            leaves = sorted({row[each] for each in row if _is_leaf(each) and isinstance(row[each], int)} - {-1})
            self._add(name, place, row["leaf"], leaves)

    def window(self, root: bytes, first: int, end: int) -> None:
        """Draw from the leaves of the window, and disclose its edges.

        Args:
            root: of the signed tree.
            first: first leaf.
            end: the leaf after the last.
        """
        leaves = [first + place for place in draw(self._seed, root, end - first, self._question.samples)]
        self._drawn[LOG] = {"root": root.hex(), "first": first, "end": end, "drawn": leaves}
        for leaf in leaves:
            self._add(LOG, leaf, leaf, [leaf])

    def finish(self) -> tuple[Sample, ...]:
        """Write the index of the samples, and return them."""
        index = {
            "count": self._question.samples,
            "drawn": self._drawn,
            "method": "HMAC-SHA256(seed, root || counter of 8 bytes) mod rows; see verify_evidence.py",
            "samples": self._index,
            "seed": self._seed,
        }
        self._out.write("samples/samples.json", "application/json", canonical(index))
        return tuple(self.samples)

    def disclose(self, leaves: Iterable[int]) -> None:
        """Write records with their proofs, each once."""
        for leaf in leaves:
            if leaf in self._written:
                continue
            self._written.add(leaf)
            record = self._records.at(leaf)
            if record is not None:
                self._out.write(f"samples/records/{leaf:012d}.json", "application/json", record.record)
                self._out.write(f"samples/records/{leaf:012d}.tlog-proof", "text/plain", self._records.proof(leaf))

    def _add(self, population: str, place: int, leaf: int, leaves: list[int]) -> None:
        self.disclose(leaves)
        document = self._records.document(leaf) if leaf >= 0 else {}
        kind = str(document.get("type", ""))
        found_in = TRACED.get(kind, ("", ""))[0] if population == LOG else ""
        bundle = self._bundle(document) if kind in _DECIDED else ""
        replayable = bool(bundle and document.get("policy_input"))
        if replayable:
            self.used_bundles.add(bundle)
        event_id = str(document.get("event_id", ""))
        self.samples.append(Sample(population, place, leaf, event_id, kind, found_in, replayable))
        self._index.append(
            {
                "bundle": bundle if replayable else "",
                "deleted": leaf >= 0 and not document,
                "event_id": event_id,
                "leaf": leaf,
                "leaves": leaves,
                "place": place,
                "population": population,
                "type": kind,
            }
        )

    def _bundle(self, document: Mapping[str, Any]) -> str:
        policy = document.get("policy") or {}
        return self._bundles.get((str(policy.get("revision", "")), str(policy.get("data_digest", ""))), "")


def _is_leaf(column: str) -> bool:
    return column == "leaf" or column.endswith("_leaf")


def _lines_at(path: Path, places: Iterable[int]) -> dict[int, bytes]:
    """Return lines of a file by their number, from 0."""
    wanted = set(places)
    found: dict[int, bytes] = {}
    if not wanted:
        return found
    last = max(wanted)
    with path.open("rb") as file:
        for number, line in enumerate(file):
            if number in wanted:
                found[number] = line
            if number == last:
                break
    return found
