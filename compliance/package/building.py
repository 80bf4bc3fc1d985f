"""Makes a package: extract, commit, evaluate, draw, write, sign, publish; each step once, in this order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson

from audit.canonical import canonical
from audit.export.source import Source
from audit.tlog.checkpoint import parse_checkpoint
from audit.tlog.note import note_text
from audit.tlog.proof import format_proof
from audit.tlog.tiles import TileTree
from compliance.errors import ComplianceError
from compliance.package.committing import COMMITMENT, Commitments, Held, commitment
from compliance.package.covering import coverage
from compliance.package.errors import RefusedError
from compliance.package.facts import CheckpointFacts, Commitment, Data, Facts
from compliance.package.output import Output
from compliance.package.part import Part
from compliance.package.plain import evaluation_document, readme
from compliance.package.pseudonyms import PseudonymousData, Pseudonyms
from compliance.package.publishing import Place, begin, discard, publish
from compliance.package.question import MAX_SEED_BYTES, Question
from compliance.package.reconciling import ipe_document, make_ipe
from compliance.package.records import Records
from compliance.package.sampling import Sampler
from compliance.package.signing import (
    ENVELOPE,
    MANIFEST,
    TIMESTAMP,
    envelope,
    fingerprint,
    manifest,
    public_pem,
    statement,
)
from compliance.package.spoiling import write_spoilt
from compliance.package.world import Progress, Surroundings, World
from compliance.package.writing import WrittenPopulation, dictionary, write_population

VERIFIER = "verify_evidence.py"
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Request:
    """What to make.

    Attributes:
        question: what the package is asked for.
        output: its name: a directory, or a file that ends in .zip.
        seed: the auditor's text; empty: nothing is drawn.
        anew: make a new commitment, to the log as it is now, though there is one to the same question.
        since: signed checkpoints that the auditor knows; the package proves that the log continues them.
    """

    question: Question
    output: Path
    seed: str = ""
    anew: bool = False
    since: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Built:
    """A package that was made.

    Attributes:
        manifest_sha256: SHA-256 of its manifest (hex).
        commitment_sha256: SHA-256 of its commitment (hex).
        committed_now: the commitment was made by this export.
        facts: everything about it.
    """

    manifest_sha256: str
    commitment_sha256: str
    committed_now: bool
    files: int
    size: int
    facts: Facts


def build(request: Request, world: World, parts: Sequence[Part], progress: Progress) -> Built:
    """Make a package, whole or not at all; interrupted, it goes on when it is run again.

    Raises:
        ComplianceError: it is refused, with the reason; or something cannot be read or written.
    """
    if len(request.seed.encode()) > MAX_SEED_BYTES:
        raise ComplianceError(f"a seed has at most {MAX_SEED_BYTES} bytes")
    commitments = Commitments(world.commitments)
    held = None if request.anew else commitments.latest(request.question)
    source = world.source(held.note if held is not None else None)
    place = _begin(request, source)
    with place.lock:
        if held is None:
            source = world.source((place.work / "checkpoint").read_bytes())
        try:
            return _Work(request, world, source, place, progress).run(parts, commitments, held)
        except RefusedError:
            discard(place)
            raise


def _begin(request: Request, source: Source) -> Place:
    """Begin in a directory that remembers the checkpoint, so that what was interrupted goes on with the same."""
    plan = {"question": request.question.document(), "seed": request.seed}
    place = begin(request.output, plan)
    note = place.work / "checkpoint"
    if not note.exists():
        note.write_bytes(source.note)
    return place


class _Work:
    """One package while it is made."""

    def __init__(self, request: Request, world: World, source: Source, place: Place, progress: Progress) -> None:
        self.request, self.world, self.source, self.place = request, world, source, place
        self.question = request.question
        self.progress = progress
        self.out = Output(place.tree)
        self.pseudonyms = Pseudonyms(b"" if self.question.real_names else world.pseudonym_key(self.question.digest()))

    def run(self, parts: Sequence[Part], commitments: Commitments, held: Held | None) -> Built:
        raw = self.world.extract(self.source, self.place.work / "populations.sqlite", self.progress)
        refuse(raw, self.question)
        data = PseudonymousData(raw, self.pseudonyms)
        written = self._populations(data)
        evaluation = self.world.evaluate(raw, self.source)
        _refuse_uncovered(evaluation.uncovered, self.question)
        made = held is None
        held = self._committed(
            commitments, held, commitment(self.question, self.source.checkpoint, raw.window(), written)
        )
        around = self.world.surroundings(raw)
        record = held.document
        with Records(self.source) as records:
            last = records.at(self.source.checkpoint.size - 1)
            now = last.time_ns if last is not None else int(record["time"])
            ipe = make_ipe(raw, self.question, written, around.versions.get("govgateway", ""), around.exporter, now)
            self._write_json("populations/ipe.json", ipe_document(ipe))
            samples, bundles = self._samples(records, raw, written, around)
        held_bundles = self._bundles(around, bundles)
        spoilt = tuple(write_spoilt(self.out, written, held.record, held.proof))
        checkpoint = self.source.checkpoint
        facts = Facts(
            evaluation=evaluation,
            system=self.question.system,
            register_entry=around.register.get(self.question.system, {}),
            register=around.register,
            data=data,
            period=self.question.period,
            origin=checkpoint.origin,
            gateway=around.gateway,
            checkpoint=CheckpointFacts(self.source.note, checkpoint.size, checkpoint.root, now),
            commitment=Commitment(held.digest, str(record["event_id"]), int(record["time"])),
            seed=self.request.seed,
            policies=tuple({**each, "held": each.get("bundle_digest") in held_bundles} for each in around.policies),
            keys=around.keys,
            fingerprint=fingerprint(self.world.key.public_key()),
            configuration_digest=around.configuration_digest,
            unsafe_options=around.unsafe_options,
            versions=around.versions,
            exporter=around.exporter,
            real_names=self.question.real_names,
            ipe=ipe,
            samples=samples,
            spoilt=spoilt,
            pseudonym=self.pseudonyms,
            missing=(*around.missing, *_lost(around, held_bundles)),
        )
        self._write_rest(facts, around, held)
        for number, part in enumerate(parts):
            self.progress("report and documents", number, len(parts))
            part.write(facts, self.out)
        digest = self._sign(facts, held)
        self.progress("publishing", 0, 0)
        publish(self.place)
        size = sum(each.size for each in self.out.files.values())
        return Built(digest, held.digest, made, len(self.out.files), size, facts)

    def _populations(self, data: PseudonymousData) -> dict[str, WrittenPopulation]:
        written: dict[str, WrittenPopulation] = {}
        done = 0

        def advance(rows: int) -> None:
            nonlocal done
            done += rows
            self.progress("writing populations", done, 0)

        for name in sorted(data.populations):
            written[name] = write_population(data, name, self.question.system, self.out, advance)
        self._write_json("populations/dictionary.json", dictionary(data))
        return written

    def _committed(self, commitments: Commitments, held: Held | None, content: bytes) -> Held:
        """Return the commitment, made now if there is none: on record, and covered by a signed checkpoint."""
        if held is not None:
            if held.content != content:
                raise RefusedError(
                    "what is extracted now is not what was committed to for this question; the program or its data "
                    "changed since. Ask with --anew for a new commitment"
                )
            self._write_commitment(held)
            return held
        self.progress("committing", 0, 0)
        checkpoint, document = self.source.checkpoint, orjson.loads(content)
        linked = self.world.commit(
            {
                "commitment_sha256": sha256(content).hexdigest(),
                "system": self.question.system,
                "since": self.question.period.start_ns // 1_000_000_000,
                "until": self.question.period.end_ns // 1_000_000_000,
                "frameworks": list(self.question.frameworks),
                "tree_size": checkpoint.size,
                "tree_root": checkpoint.root.hex(),
                "populations": len(document["populations"]),
                "rows": sum(each["rows"] for each in document["populations"].values()),
                "real_names": self.question.real_names,
            }
        )
        later = Source(self.source.store, self.source.directory, self.world.covering(linked))
        size = later.checkpoint.size
        tree = TileTree(later.tiles, size)
        with Records(later) as records:
            index = records.index_of(orjson.loads(linked.record)["chain"], linked.sequence)
        proof = format_proof(index, tree.inclusion_proof(index, size), later.note)
        consistency = tuple(each.hex() for each in tree.consistency_proof(checkpoint.size, size))
        made = Held(content, self.source.note, linked.record, proof, consistency)
        commitments.keep(self.question, made)
        self._write_commitment(made)
        return made

    def _write_commitment(self, held: Held) -> None:
        self.out.write(COMMITMENT, JSON, held.content)
        self.out.write("committed/record.json", JSON, held.record)
        self.out.write("committed/record.tlog-proof", "text/plain", held.proof)
        self._write_json("committed/consistency.json", list(held.consistency))

    def _samples(
        self, records: Records, data: Data, written: Mapping[str, WrittenPopulation], around: Surroundings
    ) -> tuple[tuple[Any, ...], set[str]]:
        if not self.request.seed:
            return (), set()
        self.progress("drawing samples", 0, 0)
        sampler = Sampler(self.question, self.request.seed, records, around.bundles, self.out)
        for name, each in sorted(written.items()):
            sampler.population(name, each, self.place.tree / f"populations/{name}.jsonl")
        first, end = data.window()
        size = self.source.checkpoint.size
        sampler.window(self.source.checkpoint.root, first, end)
        sampler.disclose(leaf for leaf in (first - 1, first, end - 1, end) if 0 <= leaf < size)
        return sampler.finish(), sampler.used_bundles

    def _bundles(self, around: Surroundings, used: set[str]) -> set[str]:
        """Write the bundles that decided samples, and those in force in the period; return those that are kept."""
        wanted = used | {str(each["bundle_digest"]) for each in around.policies if each.get("bundle_digest")}
        held = set()
        for digest in sorted(wanted):
            content = self.world.bundle(digest)
            if content is not None:
                self.out.write(f"bundles/{digest}.tar.gz", "application/gzip", content)
                held.add(digest)
        return held

    def _write_rest(self, facts: Facts, around: Surroundings, held: Held) -> None:
        out = self.out
        out.write("checkpoint", "text/plain", self.source.note)
        out.write("keys/evidence.pem", "application/x-pem-file", public_pem(self.world.key.public_key()).encode())
        if around.log_key:
            out.write("keys/log.vkey", "text/plain", f"{around.log_key}\n".encode())
        self._write_json(
            "keys/keys.json",
            [
                {
                    "name": each.name,
                    "use": each.use,
                    "algorithm": each.algorithm,
                    "public": each.public,
                    "fingerprint": each.fingerprint,
                    "not_after": each.not_after,
                }
                for each in sorted(facts.keys, key=lambda each: (each.name, each.fingerprint))
            ],
        )
        if around.witness_policy:
            out.write("witness-policy.txt", "text/plain", around.witness_policy.encode())
        if around.sealed:
            out.write("sealed-checkpoint", "text/plain", around.sealed)
        for name, content in sorted(around.timestamps.items()):
            out.write(f"timestamps/{name}", "application/octet-stream", content)
        self._write_json("policies.json", [dict(each) for each in facts.policies])
        self._write_json("versions.json", dict(facts.versions))
        self._write_json(
            "configuration.json", {"sha256": facts.configuration_digest, "unsafe_options": list(facts.unsafe_options)}
        )
        self._write_json(
            "register.json",
            {self.question.system: dict(facts.register_entry)} if facts.system else dict(facts.register),
        )
        self._write_json("evaluation.json", evaluation_document(facts.evaluation))
        self._consistency()
        out.write("COVERAGE.md", "text/markdown", coverage(facts))
        out.write("README.txt", "text/plain", readme(facts, held.digest))
        out.write(VERIFIER, "text/x-python", files("compliance.offline").joinpath(VERIFIER).read_bytes())

    def _consistency(self) -> None:
        """Prove that the log continues the checkpoints that the auditor knows."""
        size = self.source.checkpoint.size
        for note in self.request.since:
            known = parse_checkpoint(note_text(note))
            if known.origin != self.source.checkpoint.origin or not 0 < known.size <= size:
                raise ComplianceError(
                    f"the checkpoint given with --since is of {known.origin} with {known.size} records; it has to be "
                    f"of {self.source.checkpoint.origin}, and no newer than the package's, of {size}"
                )
            hashes = TileTree(self.source.tiles, size).consistency_proof(known.size, size)
            path = f"consistency/{known.size}.json"
            if path not in self.out.files:
                self._write_json(path, [each.hex() for each in hashes])

    def _sign(self, facts: Facts, held: Held) -> str:
        content = manifest(self.out.files.values())
        digest = sha256(content).hexdigest()
        predicate = {
            "commitment": held.digest,
            "committed_at": datetime.fromtimestamp(facts.commitment.time_ns // 1_000_000_000, UTC).strftime(
                "%Y-%m-%dT%H:%M:%SZ"
            ),
            "exporter": facts.exporter,
            "question": self.question.document(),
            "seed": self.request.seed,
            "tree": {"root": facts.checkpoint.root.hex(), "size": facts.checkpoint.size},
        }
        signed = envelope(statement(digest, predicate), self.world.key)
        self.place.tree.joinpath(MANIFEST).write_bytes(content)
        self.place.tree.joinpath(ENVELOPE).write_bytes(signed)
        stamp = self.world.stamp(signed)
        if stamp:
            self.place.tree.joinpath(TIMESTAMP).write_bytes(stamp)
        return digest

    def _write_json(self, path: str, document: Any) -> None:
        self.out.write(path, JSON, canonical(document))


def refuse(data: Data, question: Question) -> None:
    """Refuse what no package can be of.

    Raises:
        RefusedError: the period has no records, or the log contradicts the register.
    """
    first, end = data.window()
    if first >= end:
        raise RefusedError(f"the log {question.log} has no records of {question.period}; there is nothing to show")
    if "models" not in data.populations:
        return
    unlisted = sorted(
        {
            (str(row["system"]), str(row["model"]))
            for row in data.rows("models", question.system)
            if row["listed"] is False and row["system"]
        }
    )
    if unlisted:
        names = "; ".join(f"{system or '(no system)'}: {model}" for system, model in unlisted)
        raise RefusedError(
            f"the register contradicts the log: these models answered calls and are not listed: {names}. Add them to "
            "the register, or find out who let them answer"
        )


def _refuse_uncovered(uncovered: Sequence[tuple[str, str]], question: Question) -> None:
    if len({day for day, _ in uncovered}) >= sum(1 for _ in question.period.days()):
        raise RefusedError(
            f"no day of {question.period} is covered by the log {question.log}: {uncovered[0][0]}: {uncovered[0][1]}"
        )


def _lost(around: Surroundings, held: set[str]) -> list[str]:
    return [
        f"The bundle {each['bundle_digest']} of the revision {each.get('revision', '')}: it is not kept any more."
        for each in around.policies
        if each.get("bundle_digest") and each["bundle_digest"] not in held
    ]
