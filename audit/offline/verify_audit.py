#!/usr/bin/env python3
"""Verifies an export of a govgateway audit log, or one receipt, without any part of govgateway.

Needs Python 3.11 or later and the package `cryptography`, nothing else. Reads only, and asks nothing of any network.

    python verify_audit.py export DIRECTORY --key KEY [--since CHECKPOINT] [--policy FILE | --witness KEY --quorum N]
    python verify_audit.py receipt RECORD PROOF --key KEY
    python verify_audit.py receipt RECEIPT.json --key KEY

KEY is the log's public key, `name+id+base64` (C2SP signed-note, verifier keys), or a file that holds it. Get it from
the operator of the log by another way than the export, once, and keep it: whoever can forge an export can also put
another key beside it. A checkpoint that you kept from an earlier day, given with --since, shows that the log was not
written anew since, even by somebody who has the signing key.

Exit status: 0 all that is listed as proved is proved; 1 something is wrong; 2 it could not be verified (wrong use, a
file that cannot be read); 3 nothing is wrong, but no key was given, so nobody vouches for it.

What the formats are: a record is canonical JSON (RFC 8785); its hash is SHA-256(0x00, record), the leaf hash of
RFC 6962; each record names the hash before it in its chain (`prev`); all chains are leaves of one RFC 6962 tree, whose
root is signed (C2SP tlog-checkpoint, tlog-tiles, tlog-cosignature, tlog-policy, tlog-proof).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:
    sys.exit("This verifier needs the Python package cryptography: python -m pip install cryptography")
try:
    from cryptography.hazmat.primitives.asymmetric import mldsa
except ImportError:  # older versions
    mldsa = None  # type: ignore[assignment]

GENESIS = "0" * 64
SKEW_NS = 5_000_000_000
GRACE_NS = 3600 * 10**9
ED25519, COSIGNATURE, ML_DSA_44 = 1, 4, 6
KEY_BYTES = {ED25519: 32, COSIGNATURE: 32, ML_DSA_44: 1312}
CHAIN_LINE = re.compile(r"chain ([a-z0-9-]+) ([1-9][0-9]{0,18}) ([0-9a-f]{64})")
RECORD_LINE = re.compile(rb'\{"index":(0|[1-9][0-9]{0,18}),"record":(\{.*\})\}\n?', re.DOTALL)
EXPLAINS = ("gateway.started", "gateway.stopped", "worker.exited", "log.recovered")
MAX_WRONG = 50


class UnusableError(Exception):
    """What was given cannot be verified at all."""


class WrongError(Exception):
    """What was given is not what it says it is."""


class Verdict:
    """Collects what was proved, what was not, and what is wrong."""

    def __init__(self) -> None:
        self.proved: list[str] = []
        self.unproved: list[str] = []
        self.wrong: list[str] = []
        self.facts: dict[str, Any] = {}

    def error(self, text: str) -> None:
        self.wrong.append(text)

    def status(self, keys: list[Key]) -> int:
        return 1 if self.wrong else 0 if keys else 3

    def tell(self, keys: list[Key], *, as_json: bool) -> int:
        status = self.status(keys)
        if as_json:
            names = {"status": status, "ok": status == 0, "proved": self.proved, "not_proved": self.unproved}
            say(json.dumps({**names, "wrong": self.wrong, "facts": self.facts}, indent=2))
            return status
        if self.wrong:
            say("WRONG:")
            for text in self.wrong[:MAX_WRONG]:
                say("  - " + plain(text))
            if len(self.wrong) > MAX_WRONG:
                say(f"  - and {len(self.wrong) - MAX_WRONG} more")
            say("Nothing below holds for the whole while anything is wrong.")
        for title, texts in (("Proved:", self.proved), ("Not proved:", self.unproved)):
            if texts:
                say(title)
                for text in texts:
                    say("  - " + plain(text))
        say({0: "OK", 1: "FAILED", 3: "INCOMPLETE: give the log's public key with --key"}[status])
        return status


# Keys and signed notes


class Key:
    """A public key of the log or of a witness."""

    def __init__(self, text: str) -> None:
        name, _, rest = text.strip().partition("+")
        digest, _, material = rest.partition("+")
        try:
            raw = base64.b64decode(material, validate=True)
        except ValueError:
            raw = b""
        if not name or not raw or not re.fullmatch("[0-9a-f]{8}", digest) or any(c.isspace() for c in name):
            raise UnusableError(f"{text!r:.80} is no public key of the form name+id+base64")
        self.name, self.kind, self.public = name, raw[0], raw[1:]
        if len(self.public) != KEY_BYTES.get(self.kind):
            raise UnusableError(f"the key of {name} is of a kind that this verifier does not know: 0x{self.kind:02x}")
        self.id = hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4]
        if self.id.hex() != digest:
            raise UnusableError(f"the key of {name} was changed: its id is not that of the key")
        if self.kind == ML_DSA_44 and mldsa is None:
            raise UnusableError(f"the key of {name} is ML-DSA-44, for which this version of cryptography is too old")

    def check(self, text: bytes, signature: bytes) -> int | None:
        """Verify a signature; return the time it was made at (UNIX seconds), None if it does not say."""
        try:
            if self.kind == ED25519:
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
                return None
            time, signature = int.from_bytes(signature[:8], "big"), signature[8:]
            if self.kind == COSIGNATURE:
                signed = b"cosignature/v1\ntime %d\n" % time + text
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature, signed)
            else:
                mldsa.MLDSA44PublicKey.from_public_bytes(self.public).verify(signature, self._subtree(text, time))
        except (InvalidSignature, ValueError):
            raise WrongError(f"the signature of {self.name} does not verify") from None
        return time

    def _subtree(self, text: bytes, time: int) -> bytes:
        tree = Checkpoint.of(text)
        name, origin = self.name.encode(), tree.origin.encode()
        numbers = (0).to_bytes(8, "big") + tree.size.to_bytes(8, "big")
        message = b"subtree/v1\n\0" + bytes([len(name)]) + name + time.to_bytes(8, "big")
        return message + bytes([len(origin)]) + origin + numbers + tree.root


def open_note(note: bytes) -> tuple[bytes, list[tuple[str, bytes, bytes]]]:
    """Split a signed note into its text and its signatures: (name, key id, signature)."""
    end = note.rfind(b"\n\n")
    if end < 0 or not note.endswith(b"\n"):
        raise WrongError("it is no signed note: it has no signatures")
    try:
        lines = note[end + 2 :].decode().split("\n")[:-1]
    except UnicodeDecodeError:
        raise WrongError("it is no signed note: it is not UTF-8") from None
    signatures = []
    for line in lines:
        match = re.fullmatch("— ([^ +]+) ([A-Za-z0-9+/=]+)", line)
        try:
            raw = base64.b64decode(match[2], validate=True) if match else b""
        except ValueError:
            raw = b""
        if match is None or len(raw) < 5:
            raise WrongError(f"it is no signed note: {line!r:.60} is no signature line")
        signatures.append((match[1], raw[:4], raw[4:]))
    return note[: end + 1], signatures


class Checkpoint:
    """A tree as it was signed: origin (name of the log), size (records), root, and the end of each chain."""

    def __init__(self, note: bytes) -> None:
        self.note = note
        self.text, self.signatures = open_note(note)
        self._parse(self.text)

    @classmethod
    def of(cls, text: bytes) -> Checkpoint:
        made = cls.__new__(cls)
        made._parse(text)
        return made

    def _parse(self, text: bytes) -> None:
        try:
            lines = text.decode().split("\n")
        except UnicodeDecodeError:
            raise WrongError("the checkpoint is not UTF-8") from None
        if len(lines) < 4 or lines[-1] or not all(lines[:-1]) or not re.fullmatch("0|[1-9][0-9]{0,18}", lines[1]):
            raise WrongError("it is no checkpoint")
        try:
            self.root = base64.b64decode(lines[2], validate=True)
        except ValueError:
            self.root = b""
        if len(self.root) != 32:
            raise WrongError("the root in the checkpoint is not a hash")
        self.origin, self.size = lines[0], int(lines[1])
        self.heads: dict[str, tuple[int, str]] = {}
        for line in lines[3:-1]:
            match = CHAIN_LINE.fullmatch(line)
            if match is None and not line.startswith("chain "):
                continue
            if match is None or match[1] in self.heads:
                raise WrongError(f"the checkpoint has a line about a chain that is malformed: {line!r:.100}")
            self.heads[match[1]] = (int(match[2]) - 1, match[3])
        if sum(last + 1 for last, _ in self.heads.values()) != self.size:
            raise WrongError("the chains in the checkpoint do not add up to its size")

    def signed_by(self, keys: list[Key]) -> dict[Key, int | None]:
        """Return {key: time} of those keys that signed; raise if one of them has a signature that is wrong."""
        times: dict[Key, int | None] = {}
        for name, key_id, signature in self.signatures:
            for key in keys:
                if (key.name, key.id) == (name, key_id):
                    times[key] = key.check(self.text, signature)
        return times


def check_signature(checkpoint: Checkpoint, keys: list[Key], what: object) -> str:
    """Check that a key of the log signed, and return in words who did."""
    for key in keys:
        if key.name != checkpoint.origin:
            raise WrongError(f"{what} is of the log {checkpoint.origin}, and the key is of {key.name}")
    signers = checkpoint.signed_by(keys)
    if not signers:
        raise WrongError(f"{what} is not signed by the key that you gave")
    return ", ".join(f"{key.name} (key {key.id.hex()})" for key in signers)


# Witnesses


class Policy:
    """Which witnesses have to have cosigned (C2SP tlog-policy)."""

    def __init__(self) -> None:
        self.witnesses: dict[str, Key] = {}
        self.groups: dict[str, tuple[int, list[str]]] = {}
        self.quorum = ""

    @classmethod
    def read(cls, text: str) -> Policy:
        policy, members = cls(), set[str]()
        for line in text.split("\n"):
            words = line.split()
            if not words or words[0].startswith("#") or words[0] == "log":
                continue
            known = {"none", *policy.witnesses, *policy.groups}
            if words[0] == "witness" and len(words) in (3, 4) and words[1] not in known:
                policy.add(words[1], Key(words[2]))
            elif words[0] == "group" and len(words) >= 4 and words[1] not in known:
                names = words[3:]
                count = {"any": "1", "all": str(len(names))}.get(words[2], words[2])
                bad = [n for n in names if n not in known or n == "none" or n in members]
                if (
                    bad
                    or len(set(names)) != len(names)
                    or not re.fullmatch("[0-9]{1,4}", count)
                    or not 1 <= int(count) <= len(names)
                ):
                    raise UnusableError(f"the witness policy has a group that is malformed: {line!r:.100}")
                members.update(names)
                policy.groups[words[1]] = (int(count), names)
            elif words[0] == "quorum" and len(words) == 2 and words[1] in known and not policy.quorum:
                policy.quorum = words[1]
            else:
                raise UnusableError(f"the witness policy has a line that is malformed: {line!r:.100}")
        if not policy.quorum:
            raise UnusableError("the witness policy has no line `quorum`")
        return policy

    @classmethod
    def of(cls, keys: list[Key], quorum: int) -> Policy:
        policy = cls()
        for number, key in enumerate(keys):
            policy.add(f"w{number}", key)
        if not 1 <= quorum <= len(keys):
            raise UnusableError("--quorum is between 1 and the number of --witness")
        policy.groups["all"], policy.quorum = (quorum, list(policy.witnesses)), "all"
        return policy

    def add(self, name: str, key: Key) -> None:
        if key.kind == ED25519 or any(key.public == other.public for other in self.witnesses.values()):
            raise UnusableError(f"the key of the witness {key.name} is no key for cosignatures, or there twice")
        self.witnesses[name] = key

    def met(self, name: str, signed: dict[Key, int | None]) -> bool:
        if name == "none":
            return True
        if name in self.witnesses:
            return self.witnesses[name] in signed
        count, names = self.groups[name]
        return sum(self.met(each, signed) for each in names) >= count


def check_witnesses(verdict: Verdict, checkpoint: Checkpoint, policy: Policy | None) -> None:
    if policy is None:
        count = sum(1 for name, _, _ in checkpoint.signatures if name != checkpoint.origin)
        verdict.unproved.append(
            f"that others saw the same log: {count} cosignatures of witnesses were not looked at (give "
            "--policy, or --witness)"
        )
        return
    signed = checkpoint.signed_by(list(policy.witnesses.values()))
    if not policy.met(policy.quorum, signed):
        verdict.error(f"the checkpoint lacks cosignatures: the policy asks for more than {len(signed)}")
    for key, time in signed.items():
        verdict.proved.append(f"{key.name} saw this tree as the newest of the log, {day(time)} (by its own clock)")


# The tree


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(leaves: bytes | bytearray, count: int) -> bytes:
    """Return the root over the first `count` leaves (RFC 6962, section 2.1). `leaves`: 32 bytes each."""
    stack: list[tuple[int, bytes]] = []
    for at in range(count):
        height, hashed = 0, bytes(leaves[32 * at : 32 * at + 32])
        while stack and stack[-1][0] == height:
            hashed = node(stack.pop()[1], hashed)
            height += 1
        stack.append((height, hashed))
    if not stack:
        return hashlib.sha256(b"").digest()
    root = stack.pop()[1]
    while stack:
        root = node(stack.pop()[1], root)
    return root


def root_by_proof(leaf: bytes, index: int, size: int, proof: list[bytes]) -> bytes:
    """Return the root that an inclusion proof leads to (RFC 9162, section 2.1.3.2)."""
    at, last, hashed = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise WrongError("the inclusion proof is too long")
        if at & 1 or at == last:
            hashed = node(sibling, hashed)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            hashed = node(hashed, sibling)
        at, last = at >> 1, last >> 1
    if last:
        raise WrongError("the inclusion proof is too short")
    return hashed


def tile_path(level: int, number: int, width: int) -> str:
    digits = f"{number:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    path = f"tile/{level}/{'/'.join(['x' + part for part in parts[:-1]] + parts[-1:])}"
    return path if width == 256 else path + f".p/{width}"


def read_level(directory: Path, level: int, size: int) -> bytearray:
    """Return all hashes of a level of tiles."""
    count, hashes = size >> (8 * level), bytearray()
    for number in range(-(-count // 256)):
        width = min(256, count - 256 * number)
        path = directory / tile_path(level, number, width)
        if not path.exists() and width < 256:
            path = directory / tile_path(level, number, 256)
        data = read(path)
        if len(data) < 32 * width or len(data) % 32:
            raise WrongError(f"{path} has not the length of a tile")
        hashes += data[: 32 * width]
    return hashes


def check_tree(verdict: Verdict, directory: Path, checkpoint: Checkpoint) -> bytearray:
    """Check that the tiles lead to the signed root; return the leaves."""
    leaves = read_level(directory, 0, checkpoint.size)
    if root_of(leaves, checkpoint.size) != checkpoint.root:
        verdict.error("the leaves of the tree do not lead to the root in the checkpoint")
    below, level = leaves, 1
    while checkpoint.size >> (8 * level):
        hashes = read_level(directory, level, checkpoint.size)
        for number in range(len(hashes) // 32):
            if root_of(below[8192 * number : 8192 * (number + 1)], 256) != hashes[32 * number : 32 * number + 32]:
                verdict.error(f"hash {number} of level {level} of the tiles is not the root of the tile below")
        below, level = hashes, level + 1
    return leaves


# Records


def parse(record: bytes) -> dict[str, Any]:
    """Parse a record; refuse what two programs might read differently."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in items}) != len(items):
            raise ValueError("a name occurs twice")
        return dict(items)

    def refuse(text: str) -> NoReturn:
        raise ValueError(f"it has the number {text:.40}")

    def whole(text: str) -> int:
        if abs(int(text)) > 2**53 - 1:
            refuse(text)
        return int(text)

    try:
        document = json.loads(
            record.decode(), object_pairs_hook=pairs, parse_float=refuse, parse_constant=refuse, parse_int=whole
        )
        # Names in ASCII sort alike by characters and by UTF-16: there the library's own sorting will do, and is faster.
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        same = (text if record.isascii() else canonical(document)).encode() == record
    except (ValueError, RecursionError) as error:
        raise WrongError(f"it is no record: {error}") from None
    if not same or not isinstance(document, dict):
        raise WrongError("it is no record: it is not in canonical form")
    texts = ("log", "chain", "prev", "event_id", "time", "type")
    if not all(isinstance(document.get(name), str) for name in texts) or type(document.get("seq")) is not int:
        raise WrongError("it is no record: it lacks a field that every record has")
    if document.get("v") != 1 or not re.fullmatch("[0-9]{1,20}", document["time"]):
        raise WrongError("it is no record of the version that this verifier knows")
    return document


def canonical(value: Any) -> str:
    """Return the canonical form (RFC 8785) of a value without floats."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(canonical(name) + ":" + canonical(value[name]) for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


class Chain:
    """What is known of one chain while its records go by."""

    def __init__(self, last: int, last_hash: str) -> None:
        self.last, self.hash, self.time = last, last_hash, 0
        self.records = self.links = self.gaps = self.orphans = self.explained = 0
        self.open: dict[str, tuple[int, int]] = {}
        self.seen_end = False


class Records:
    """Checks the records of an export, one after the other, against the leaves and each other."""

    def __init__(
        self,
        verdict: Verdict,
        checkpoint: Checkpoint,
        leaves: bytearray,
        sealed: Checkpoint | None,
        *,
        excerpt: bool,
    ) -> None:
        self.verdict, self.checkpoint, self.leaves, self.excerpt = verdict, checkpoint, leaves, excerpt
        self.present = bytearray(checkpoint.size)
        self.ids: set[str] = set()
        self.chains: dict[str, Chain] = {}
        self.explainers: list[tuple[str, str, int, int, str]] = []
        self.deletions: list[dict[str, Any]] = []
        if sealed is not None:
            for name, (last, digest) in sealed.heads.items():
                self.chains[name] = Chain(last, digest)
        self.sealed = sealed

    def read(self, path: Path) -> None:
        following = 0
        if not path.exists():
            raise WrongError(f"{path} is missing")
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                match = RECORD_LINE.fullmatch(line)
                if match is None:
                    self.verdict.error(f"line {number} of the records is malformed")
                    continue
                index, record = int(match[1]), match[2]
                if index < following:
                    self.verdict.error(f"line {number}: the records are not in the order of the tree, or one is twice")
                following = max(following, index + 1)
                try:
                    self.check(index, record)
                except WrongError as error:
                    self.verdict.error(f"record {index} of the tree: {error}")

    def check(self, index: int, record: bytes) -> None:
        if index >= self.checkpoint.size:
            raise WrongError(f"the signed tree has only {self.checkpoint.size}")
        digest = hashlib.sha256(b"\x00" + record).digest()
        self.present[index] = 1
        if digest != self.leaves[32 * index : 32 * index + 32]:
            raise WrongError("it is not the record that was signed in this place")
        document = parse(record)
        if document["log"] != self.checkpoint.origin:
            raise WrongError("it is of another log: {:.80}".format(document["log"]))
        if document["event_id"] in self.ids:
            raise WrongError("the event id {} occurs twice".format(document["event_id"]))
        self.ids.add(document["event_id"])
        self.follow(document, digest.hex())

    def follow(self, document: dict[str, Any], digest: str) -> None:
        """Check the place of a record in its chain: sequence, link, time; and the call that it opens or closes."""
        name, sequence, time = document["chain"], document["seq"], int(document["time"])
        chain = self.chains.setdefault(name, Chain(-1, GENESIS))
        before, chain.records = chain.last, chain.records + 1
        adjacent = sequence == before + 1
        linked = document["prev"] == chain.hash
        stepped = document["type"] == "clock.stepped" or chain.time == 0
        late = time < chain.time - SKEW_NS and not stepped
        chain.last, chain.hash, chain.time = sequence, digest, time
        if self.checkpoint.heads.get(name) == (sequence, digest):
            chain.seen_end = True
        self.calls(chain, name, document, time)
        if chain.records == 1 and self.sealed is not None and self.sealed.heads.get(name) == (sequence, digest):
            return  # the last record of a chain stays when retention deletes, so that the chain goes on from it
        if sequence <= before:
            raise WrongError(f"record {sequence} of the chain {name} comes after its record {before}")
        if not adjacent:
            chain.gaps += 1
            if not self.excerpt:
                raise WrongError(f"after record {before} of the chain {name} comes its record {sequence}")
            return
        chain.links += 1
        if not linked:
            raise WrongError(f"record {sequence} of the chain {name} does not name the hash of the one before it")
        if late:
            raise WrongError(f"record {sequence} of the chain {name} is earlier than the one before it")

    def calls(self, chain: Chain, name: str, document: dict[str, Any], time: int) -> None:
        kind = document["type"]
        if kind == "access.intent":
            chain.open[document["event_id"]] = (document["seq"], time)
        elif kind == "access.outcome":
            if chain.open.pop(str(document.get("intent")), None) is None:
                chain.orphans += 1
                if not self.excerpt and not (self.sealed is not None and name in self.sealed.heads):
                    raise WrongError("it ends a call that never began: {}".format(document.get("intent")))
        elif kind in EXPLAINS:
            about = "worker-{}".format(document.get("worker")) if kind == "worker.exited" else name
            self.explainers.append((kind, name, document["seq"], time, about))
        elif kind == "log.segment_deleted":
            self.deletions.append(document)

    def finish(self) -> tuple[int, int]:
        """Check what only the whole tells: chain ends, calls without an end, and records that are not there."""
        for name, (last, digest) in sorted(self.checkpoint.heads.items()):
            chain = self.chains.get(name)
            kept = chain is not None and (
                chain.seen_end or (chain.records == 0 and (chain.last, chain.hash) == (last, digest))
            )
            if not kept and not self.excerpt:
                self.verdict.error(f"the chain {name} does not end as it was signed: with record {last}")
        for name, chain in self.chains.items():
            if name not in self.checkpoint.heads:
                self.verdict.error(f"the chain {name} is not named in the checkpoint")
            self.explain(name, chain)
        missing = self.checkpoint.size - sum(self.present)
        deleted = self.deleted()
        if missing > deleted and not self.excerpt:
            self.verdict.error(
                f"{missing - deleted} records of the tree are not in the export. If it is meant to be an "
                "excerpt, say so with --excerpt"
            )
        return missing, deleted

    def explain(self, name: str, chain: Chain) -> None:
        for intent, (sequence, time) in list(chain.open.items()):
            for kind, where, place, when, about in self.explainers:
                if kind == "worker.exited":
                    good = about == name and when >= time
                else:
                    good = place > sequence if where == name else kind != "log.recovered" and when >= time
                if good:
                    chain.explained += 1
                    del chain.open[intent]
                    break
            else:
                if chain.time - time > GRACE_NS and not self.excerpt:
                    self.verdict.error(f"the call {intent} has no outcome, and no record says why")

    def deleted(self) -> int:
        """Return how many of the first leaves were deleted by retention, as records of the log itself say."""
        if self.sealed is None:
            return 0
        end = 0
        for document in sorted(self.deletions, key=lambda each: str(each.get("start")).zfill(20)):
            start, stop = document.get("start"), document.get("end")
            if type(start) is not int or type(stop) is not int or not start <= end < stop <= self.sealed.size:
                continue
            if root_of(self.leaves, stop).hex() == document.get("root"):
                end = stop
        if end < self.sealed.size and not self.excerpt:
            self.verdict.error(
                f"records are gone up to {self.sealed.size} of the tree, and no record in the export says "
                "that they were deleted"
            )
        return sum(1 for present in self.present[:end] if not present)


# The two commands


def verify_export(arguments: argparse.Namespace, verdict: Verdict, keys: list[Key]) -> None:
    directory = Path(arguments.directory)
    if not directory.is_dir():
        raise UnusableError(f"{directory} is no directory")
    checkpoint = Checkpoint(read(directory / "checkpoint"))
    verdict.facts.update(log=checkpoint.origin, size=checkpoint.size, root=checkpoint.root.hex())
    if keys:
        signer = check_signature(checkpoint, keys, "the checkpoint")
        verdict.proved.append(f"the checkpoint of {checkpoint.size} records is signed by {signer}")
    else:
        verdict.unproved.append("who made this log: no key was given, so no signature was verified")
    leaves = check_tree(verdict, directory, checkpoint)
    check_witnesses(verdict, checkpoint, policy_of(arguments))
    for path in arguments.since:
        older = Checkpoint(read(path))
        if keys:
            check_signature(older, keys, path)
        if older.origin != checkpoint.origin:
            verdict.error(f"{path} is a checkpoint of another log: {older.origin}")
        elif older.size > checkpoint.size or root_of(leaves, older.size) != older.root:
            verdict.error(f"the log was cut or written anew: it does not continue {path} ({older.size} records)")
        else:
            verdict.proved.append(f"the log continues your checkpoint {path} of {older.size} records, unchanged")
    if not arguments.since:
        verdict.unproved.append(
            "that this is the log you saw before: keep this checkpoint, and give it with --since next time"
        )
    sealed = read_sealed(directory, checkpoint, leaves, keys)
    records = Records(verdict, checkpoint, leaves, sealed, excerpt=arguments.excerpt)
    records.read(directory / "records.jsonl")
    missing, deleted = records.finish()
    tell_records(verdict, records, missing, deleted)
    tell_rest(verdict, directory)


def read_sealed(directory: Path, checkpoint: Checkpoint, leaves: bytearray, keys: list[Key]) -> Checkpoint | None:
    """Read the checkpoint of the last segment that retention deleted, if there is one."""
    path = directory / "sealed-checkpoint"
    if not path.exists():
        return None
    sealed = Checkpoint(read(path))
    if keys:
        check_signature(sealed, keys, "the sealed checkpoint")
    older = sealed.origin == checkpoint.origin and sealed.size <= checkpoint.size
    if not older or root_of(leaves, sealed.size) != sealed.root:
        raise WrongError("the sealed checkpoint is not an earlier one of this log")
    return sealed


def tell_records(verdict: Verdict, records: Records, missing: int, deleted: int) -> None:
    present = records.checkpoint.size - missing
    verdict.facts.update(records=present, missing=missing, deleted=deleted, chains={})
    verdict.proved.append(f"{present} records are, byte by byte, those that were signed, each in its place")
    for name, chain in sorted(records.chains.items()):
        facts = {"records": chain.records, "last": chain.last, "hash": chain.hash, "links": chain.links}
        facts.update(gaps=chain.gaps, calls_open=len(chain.open), calls_explained=chain.explained)
        verdict.facts["chains"][name] = facts
        verdict.proved.append(
            f"chain {name}: {chain.records} records, {chain.links} links to the record before, "
            f"{chain.explained} calls without an outcome that other records explain, {len(chain.open)} "
            "that may be under way"
        )
        if chain.orphans:
            verdict.unproved.append(f"chain {name}: how {chain.orphans} calls began that end in this export")
    if not missing and not verdict.wrong:
        verdict.proved.append("none is missing: the tree has no other record")
    if deleted:
        verdict.unproved.append(
            f"what {deleted} records said that retention deleted; that they were deleted, when and why is "
            "in the log, their hashes are in the tree"
        )
    if missing - deleted:
        verdict.unproved.append(f"what {missing - deleted} further records of the tree say: this is an excerpt")
    verdict.unproved.append("that what a record says is true: it is what the gateway wrote down at the time")
    verdict.unproved.append("what happened after the checkpoint: ask for a newer export")


def tell_rest(verdict: Verdict, directory: Path) -> None:
    """Name what lies in the export and was not looked at."""
    known = {"checkpoint", "records.jsonl", "sealed-checkpoint", "tile", "README.txt", "manifest.json", "log.vkey"}
    known |= {"witness-policy.txt", Path(__file__).name}
    for name in sorted(path.name for path in directory.iterdir()):
        if name.endswith(".tsr"):
            verdict.unproved.append(
                f"the time in {name}, not checked here. With the authority's certificates in tsa.pem: "
                f"openssl ts -verify -data checkpoint -in {name} -CAfile tsa.pem (README.txt names the data)"
            )
        elif name not in known and not name.startswith("__pycache__"):
            verdict.unproved.append(f"anything about the file {name}, which this verifier does not know")


def verify_receipt(arguments: argparse.Namespace, verdict: Verdict, keys: list[Key]) -> None:
    record, proof = read_receipt(arguments.files)
    head, blank, note = proof.partition(b"\n\n")
    lines = head.decode("ascii", "replace").split("\n")
    if not blank or lines.pop(0) != "c2sp.org/tlog-proof@v1":
        raise WrongError("the proof does not begin with c2sp.org/tlog-proof@v1")
    if lines and lines[0].startswith("extra "):
        lines.pop(0)
    match = re.fullmatch("index (0|[1-9][0-9]{0,18})", lines.pop(0) if lines else "")
    try:
        hashes = [base64.b64decode(line, validate=True) for line in lines]
    except ValueError:
        hashes = [b""]
    if match is None or any(len(each) != 32 for each in hashes):
        raise WrongError("the proof is malformed")
    checkpoint, index = Checkpoint(note), int(match[1])
    document = parse(record)
    if index >= checkpoint.size:
        raise WrongError(f"the tree has no record {index}")
    leaf = hashlib.sha256(b"\x00" + record).digest()
    if root_by_proof(leaf, index, checkpoint.size, hashes) != checkpoint.root:
        raise WrongError("the proof does not lead from this record to the signed root: one of them was changed")
    if document["log"] != checkpoint.origin:
        raise WrongError("the record is of the log {:.80}, the proof of {}".format(document["log"], checkpoint.origin))
    verdict.facts.update(log=checkpoint.origin, size=checkpoint.size, index=index, hash=leaf.hex(), record=document)
    if keys:
        signer = check_signature(checkpoint, keys, "the checkpoint")
        verdict.proved.append(f"the checkpoint of {checkpoint.size} records is signed by {signer}")
    else:
        verdict.unproved.append("who made this log: no key was given, so no signature was verified")
    verdict.proved.append(
        f"the record {document['event_id']} ({document['type']}, {day(int(document['time']) // 10**9)}) "
        f"is record {index} of that tree, byte by byte"
    )
    check_witnesses(verdict, checkpoint, policy_of(arguments))
    verdict.unproved.append("anything about other records: a receipt is about one")
    verdict.unproved.append("that what the record says is true: it is what the gateway wrote down at the time")


def read_receipt(files: list[str]) -> tuple[bytes, bytes]:
    if len(files) == 2:
        record = read(files[0])
        return (record[:-1] if record.endswith(b"\n") else record), read(files[1])
    try:
        document = json.loads(read(files[0]))
        return document["record"].encode(), document["proof"].encode()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UnusableError(f"{files[0]} is no receipt: give RECORD PROOF, or the JSON of GET /receipts/ID") from None


# Input and output


def policy_of(arguments: argparse.Namespace) -> Policy | None:
    if arguments.policy:
        return Policy.read(text_of(arguments.policy))
    if arguments.witness:
        return Policy.of(
            [Key(key_text(each)) for each in arguments.witness], arguments.quorum or len(arguments.witness)
        )
    if arguments.quorum:
        raise UnusableError("--quorum needs --witness")
    return None


def key_text(given: str) -> str:
    return text_of(given) if "+" not in given or (len(given) < 200 and Path(given).exists()) else given


def text_of(path: str) -> str:
    try:
        return read(path).decode()
    except UnicodeDecodeError:
        raise UnusableError(f"{path} is not text") from None


def read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise WrongError(f"{path} is missing") from None
    except OSError as error:
        raise UnusableError(f"{path} cannot be read: {error.strerror}") from None


def day(seconds: int | None) -> str:
    try:
        return datetime.fromtimestamp(seconds or 0, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return "at a time that no calendar has"


def plain(text: str) -> str:
    """Escape what could move the cursor of a terminal: parts of it come from the export."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(text: str, *, file: Any = None) -> None:
    (file or sys.stdout).write(text + "\n")


def arguments_of(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], epilog="Exit status: 0 proved, 1 wrong, 2 unusable, 3 no key."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    export = commands.add_parser("export", help="verify an export")
    export.add_argument("directory")
    export.add_argument("--since", action="append", default=[], metavar="CHECKPOINT", help="a checkpoint that you kept")
    export.add_argument("--excerpt", action="store_true", help="records may be left out of the export")
    receipt = commands.add_parser("receipt", help="verify one record and its proof")
    receipt.add_argument("files", nargs="+", metavar="FILE", help="RECORD PROOF, or the JSON of a receipt")
    for command in (export, receipt):
        command.add_argument("--key", action="append", default=[], help="the log's public key, or a file that holds it")
        command.add_argument("--policy", metavar="FILE", help="whose cosignatures are required (C2SP tlog-policy)")
        command.add_argument("--witness", action="append", default=[], metavar="KEY", help="public key of a witness")
        command.add_argument("--quorum", type=int, metavar="N", help="how many witnesses; default: all given")
        command.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(argv)
    if arguments.command == "receipt" and len(arguments.files) > 2:
        parser.error("a receipt is RECORD PROOF, or one JSON file")
    return arguments


def main(argv: list[str] | None = None) -> int:
    arguments = arguments_of(argv)
    verdict = Verdict()
    try:
        keys = [Key(key_text(each)) for each in arguments.key]
        try:
            (verify_export if arguments.command == "export" else verify_receipt)(arguments, verdict, keys)
        except WrongError as error:
            verdict.error(str(error))
            if not verdict.wrong[1:]:
                verdict.unproved.append("anything that was to be looked at after that")
        return verdict.tell(keys, as_json=arguments.json)
    except (UnusableError, WrongError) as error:
        say(f"Cannot verify: {plain(str(error))}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
